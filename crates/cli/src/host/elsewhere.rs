//! The report where no core can be taken.

use super::{Report, Way, Ways, platform};

impl Report {
    /// Where there is nothing to ask.
    pub fn elsewhere() -> Report {
        let way = Way {
            works: false,
            why: Some("Cores are taken on Linux only.".to_owned()),
            change: Some(
                "Run the service on Linux. Reading cores works here: info, modules, threads, bt, memory, archive, \
                 verify, unpack."
                    .to_owned(),
            ),
        };
        Report {
            platform: platform(),
            ways: Ways {
                kernel: way.clone(),
                direct: way,
            },
            ..Report::default()
        }
    }
}
