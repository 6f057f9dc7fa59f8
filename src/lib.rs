//! The Node addon: converts arguments, calls the crates, converts results. No logic lives here, and no
//! JavaScript-facing API either: that is `index.js`.

// A test build has nobody to call what napi exports.
#![cfg_attr(test, allow(dead_code))]

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod finish;
