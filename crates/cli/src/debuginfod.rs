//! Files by their build-ids from debuginfod servers, where the user asked for it (`--debuginfod`).
//!
//! What a server sends is believed only if its build-id is the one that was asked for. It goes into temporary files without
//! names. A server that cannot be reached is not asked again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stillcore_corefile::{FileProvider, FileSource, Source, build_id};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::address::hex;
use crate::progress::Bar;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take to begin, and how long nothing may come while it is sent (`DEBUGINFOD_TIMEOUT`, in seconds,
/// is another).
const TIMEOUT: Duration = Duration::from_secs(90);

/// How long a whole file may take.
const WHOLE: Duration = Duration::from_secs(30 * 60);

/// Longest file that is taken (`DEBUGINFOD_MAXSIZE`, in bytes, is another).
const MAX_SIZE: u64 = 8 << 30;

/// A file, or that there is none.
type Answer = Option<(PathBuf, Arc<dyn Source>)>;

/// Servers that are asked one after the other.
pub struct Debuginfod {
    agent: Agent,
    servers: Vec<Server>,
    limit: u64,
    timeout: Duration,
    /// What was asked for already, by build-id and kind.
    known: Mutex<HashMap<(Vec<u8>, bool), Answer>>,
}

struct Server {
    url: String,
    /// Whether it could not be reached.
    silent: Mutex<bool>,
}

impl Debuginfod {
    /// Servers at these URLs.
    pub fn new(urls: &[String]) -> Debuginfod {
        let seconds = number("DEBUGINFOD_TIMEOUT").map(Duration::from_secs);
        let timeout = seconds.filter(|time| !time.is_zero()).unwrap_or(TIMEOUT);
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT.min(timeout)))
            .timeout_recv_response(Some(timeout))
            .timeout_global(Some(WHOLE))
            .user_agent(concat!("stillcore/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls())
            .build();
        Debuginfod {
            agent: config.into(),
            servers: urls
                .iter()
                .map(|url| Server {
                    url: url.trim_end_matches('/').to_owned(),
                    silent: Mutex::new(false),
                })
                .collect(),
            limit: number("DEBUGINFOD_MAXSIZE")
                .filter(|&limit| limit > 0)
                .unwrap_or(MAX_SIZE),
            timeout,
            known: Mutex::default(),
        }
    }

    fn fetch(&self, id: &[u8], debug: bool) -> Answer {
        let kind = if debug { "debuginfo" } else { "executable" };
        for server in &self.servers {
            let mut silent = server.silent.lock().unwrap_or_else(PoisonError::into_inner);
            if *silent {
                continue;
            }
            let url = format!("{}/buildid/{}/{kind}", server.url, hex(id));
            match self.get(&url, id) {
                Ok(Some(source)) => {
                    tracing::info!(%url, "fetched");
                    return Some((PathBuf::from(url), source));
                }
                Ok(None) => tracing::debug!(%url, "the server does not have it"),
                Err(Failure::Unreachable(error)) => {
                    tracing::warn!(%url, %error, "the server cannot be reached, and is not asked again");
                    *silent = true;
                }
                Err(Failure::Useless(error)) => {
                    tracing::warn!(%url, %error, "what the server sent is of no use");
                }
            }
        }
        None
    }

    /// What is at a URL, if it has this build-id.
    fn get(&self, url: &str, id: &[u8]) -> Result<Option<Arc<dyn Source>>, Failure> {
        let response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(404 | 410)) => return Ok(None),
            Err(ureq::Error::StatusCode(code)) => {
                return Err(Failure::Useless(format!("HTTP status {code}")));
            }
            Err(error) => return Err(Failure::Unreachable(error.to_string())),
        };
        let length = response.body().content_length();
        if length.is_some_and(|length| length > self.limit) {
            return Err(self.too_long());
        }
        let bar = Bar::new("fetching");
        let parts = parts(response.into_body().into_reader());
        let file = tempfile::tempfile().map_err(useless)?;
        let mut done = 0;
        loop {
            let part = match parts.recv_timeout(self.timeout) {
                Ok(part) => part.map_err(useless)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.timeout.as_secs();
                    return Err(Failure::Unreachable(format!(
                        "nothing came for {seconds} s (DEBUGINFOD_TIMEOUT)"
                    )));
                }
            };
            done += part.len() as u64;
            if done > self.limit {
                return Err(self.too_long());
            }
            (&file).write_all(&part).map_err(useless)?;
            bar.set(done, length);
        }
        if length.is_some_and(|length| length != done) {
            return Err(Failure::Useless("it ends too early".to_owned()));
        }
        self.check(file, id)
    }

    fn check(&self, file: File, id: &[u8]) -> Result<Option<Arc<dyn Source>>, Failure> {
        let source = FileSource::new(file).map_err(useless)?;
        match build_id(&source) {
            Ok(Some(its)) if its == id => Ok(Some(Arc::new(source))),
            Ok(Some(its)) => Err(Failure::Useless(format!("it has build-id {}", hex(&its)))),
            Ok(None) => Err(Failure::Useless("it has no build-id".to_owned())),
            Err(error) => Err(Failure::Useless(error.to_string())),
        }
    }

    fn too_long(&self) -> Failure {
        Failure::Useless(format!(
            "it is longer than {} bytes (DEBUGINFOD_MAXSIZE)",
            self.limit
        ))
    }
}

/// Whose certificates are believed: Mozilla's authorities, or those in the file that `SSL_CERT_FILE` names, as other programs
/// have it.
fn tls() -> TlsConfig {
    let config = TlsConfig::builder();
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return config.build();
    };
    let bytes = std::fs::read(&path).unwrap_or_else(|error| {
        tracing::warn!(?path, %error, "SSL_CERT_FILE cannot be read");
        Vec::new()
    });
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    config
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build()
}

/// Reads in a thread of its own, since a read of a socket that is silent ends when it likes. It ends with the channel, or
/// with the program.
fn parts(mut body: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let part = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => Ok(buffer[..got].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_over = part.is_err();
            if sender.send(part).is_err() || is_over {
                break;
            }
        }
    });
    receiver
}

enum Failure {
    /// There is no use in asking this server for anything else.
    Unreachable(String),
    Useless(String),
}

fn useless(error: io::Error) -> Failure {
    Failure::Useless(error.to_string())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

impl FileProvider for Debuginfod {
    /// Servers know nothing of paths.
    fn open(&self, _path: &[u8]) -> Answer {
        None
    }

    fn by_build_id(&self, id: &[u8], debug: bool) -> Answer {
        let key = (id.to_vec(), debug);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(&key) {
            return answer.clone();
        }
        drop(known);
        let answer = self.fetch(id, debug);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, answer.clone());
        answer
    }
}
