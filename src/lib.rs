//! The Node addon: converts arguments, calls the crates, converts results. No logic lives here, and no
//! JavaScript-facing API either: that is `index.js`.

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod finish;
