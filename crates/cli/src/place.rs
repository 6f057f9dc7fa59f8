//! What lies at an address of code: function, module, line.

use std::fmt;

use serde::Serialize;
use stillcore_corefile::Process;

use crate::session::{Address, module_name};

/// What lies at an address.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Place {
    /// The function, demangled.
    pub function: Option<String>,
    /// How far in the function it is.
    pub offset: Option<u64>,
    /// The module: the last part of its path.
    pub module: Option<String>,
    /// The same address in the module's file: what addr2line and objdump take.
    #[serde(rename = "moduleAddress")]
    pub module_address: Option<Address>,
}

impl Place {
    /// Looks an address up: `address` itself, not one behind a call.
    pub fn of(process: &Process, address: u64) -> Place {
        let module = process.module_at(address);
        Place {
            function: None,
            offset: None,
            module: module.map(module_name),
            module_address: module.map(|module| Address(address.wrapping_sub(module.bias))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, self.offset) {
            (Some(function), Some(offset)) => write!(f, "{function}+{offset:#x}")?,
            (Some(function), None) => f.write_str(function)?,
            (None, _) => {
                return match (&self.module, self.module_address) {
                    (Some(module), Some(address)) => write!(f, "{module}+{address}"),
                    _ => Ok(()),
                };
            }
        }
        match &self.module {
            Some(module) => write!(f, " ({module})"),
            None => Ok(()),
        }
    }
}
