//! `--debuginfod`, against a server in this test: what it is asked, and what of its answers is believed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server says to a path.
#[derive(Clone)]
enum Say {
    Bytes(Vec<u8>),
    /// More is promised than is sent.
    Short(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// A part of what is promised, and then nothing.
    Stall(Vec<u8>),
    /// It is elsewhere.
    Moved(String),
    /// The server is in trouble.
    Trouble,
}

/// A server that answers as it is told, and remembers what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: HashMap<String, Say>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, record) = (answers.clone(), record.clone());
                std::thread::spawn(move || serve(stream, &answers, &record));
            }
        });
        Server { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answers: &HashMap<String, Say>, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    // The rest of the request, up to the empty line.
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    // A client that has gone is none of the server's business.
    let _ = match answers.get(&path) {
        Some(Say::Bytes(bytes)) => stream
            .write_all(head("200 OK", bytes.len()).as_bytes())
            .and_then(|()| stream.write_all(bytes)),
        Some(Say::Short(bytes)) => stream
            .write_all(head("200 OK", bytes.len() + 1).as_bytes())
            .and_then(|()| stream.write_all(bytes)),
        Some(Say::Silence) => {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Some(Say::Stall(bytes)) => {
            let sent = stream
                .write_all(head("200 OK", 2 * bytes.len()).as_bytes())
                .and_then(|()| stream.write_all(bytes));
            std::thread::sleep(Duration::from_secs(60));
            sent
        }
        Some(Say::Moved(to)) => stream.write_all(
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
        ),
        Some(Say::Trouble) => stream.write_all(head("503 Service Unavailable", 0).as_bytes()),
        None => stream.write_all(head("404 Not Found", 0).as_bytes()),
    };
}

/// A program that died, whose files lie elsewhere: core, program, debug file, build-id.
struct Dead {
    folder: tempfile::TempDir,
    core: PathBuf,
    program: Vec<u8>,
    debug: Vec<u8>,
    id: String,
}

impl Dead {
    /// `None`, with the reason printed, where it cannot be had here.
    fn new() -> Option<Dead> {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        if !pattern.starts_with("core") {
            println!("skipped: cores go to {}", pattern.trim());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let source = "#include <stdlib.h>\nint main(void) { abort(); }\n";
        fs::write(at("app.c"), source).unwrap();
        let script = "gcc -g -Wl,--build-id -o app app.c && objcopy --only-keep-debug app app.debug && \
                      objcopy --strip-all app && (ulimit -c unlimited; ./app; true)";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        if !output.status.success() {
            println!("skipped: no gcc or objcopy here: {output:?}");
            return None;
        }
        let core = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("core")
            });
        let Some(core) = core else {
            println!("skipped: the kernel writes no core here (ulimit -c)");
            return None;
        };
        let file = fs::File::open(at("app")).unwrap();
        let id = stillcore_corefile::build_id(&file).unwrap().unwrap();
        let dead = Dead {
            program: fs::read(at("app")).unwrap(),
            debug: fs::read(at("app.debug")).unwrap(),
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            core,
            folder,
        };
        for name in ["app", "app.debug", "app.c"] {
            fs::remove_file(dead.folder.path().join(name)).unwrap();
        }
        Some(dead)
    }

    fn url(&self, kind: &str) -> String {
        format!("/buildid/{}/{kind}", self.id)
    }

    /// Packs it into `out`; what the command says as JSON on its output.
    fn archive(&self, out: &Path, more: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("stillcore"));
        for name in [
            "DEBUGINFOD_URLS",
            "DEBUGINFOD_MAXSIZE",
            "http_proxy",
            "HTTP_PROXY",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .args(["archive", "--json", "-o"])
            .arg(out)
            .arg(&self.core)
            .args(more)
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }
}

/// Kind and place of each file in the archive that is of the program.
fn of_app(output: &Output) -> Vec<(String, bool, bool)> {
    let value: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let files = value["files"].as_array().unwrap();
    files
        .iter()
        .filter(|file| {
            file["kind"] == "executable" || file["path"].as_str().unwrap().contains("/buildid/")
        })
        .map(|file| {
            (
                file["kind"].as_str().unwrap().to_owned(),
                file["archivePath"].is_string(),
                file["rebuilt"] == true,
            )
        })
        .collect()
}

#[test]
fn executable_and_debug_information_come_from_the_server() {
    let Some(dead) = Dead::new() else { return };
    let server = Server::start(HashMap::from([
        (dead.url("executable"), Say::Bytes(dead.program.clone())),
        (dead.url("debuginfo"), Say::Bytes(dead.debug.clone())),
    ]));
    let out = dead.folder.path().join("out.tar.gz");
    let both = [
        ("executable".to_owned(), true, false),
        ("debug".to_owned(), true, false),
    ];

    // Nobody is asked unless that was asked for.
    let silent = dead.archive(&out, &[], &[("DEBUGINFOD_URLS", &server.url)]);
    assert_eq!(silent.status.code(), Some(0), "{silent:?}");
    assert_eq!(server.asked(), [""; 0]);
    fs::remove_file(&out).unwrap();

    let flag = format!("--debuginfod={}", server.url);
    let output = dead.archive(&out, &[&flag], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(of_app(&output), both);
    let listing = Command::new("tar").arg("-tzf").arg(&out).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let place = format!(
        "usr/lib/debug/.build-id/{}/{}.debug",
        &dead.id[..2],
        &dead.id[2..]
    );
    assert!(listing.contains(&place), "{listing}");
    assert!(
        listing.contains(&format!("{}/app\n", dead.folder.path().display())),
        "{listing}"
    );
    let mut asked = server.asked();
    asked.sort();
    let count = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), count, "nothing is asked for twice");
    fs::remove_file(&out).unwrap();

    // From where a server sends us; a circle leads nowhere.
    let moved = Server::start(HashMap::from([
        (
            dead.url("executable"),
            Say::Moved(format!("{}{}", server.url, dead.url("executable"))),
        ),
        (dead.url("debuginfo"), Say::Moved(dead.url("debuginfo"))),
    ]));
    let flag = format!("--debuginfod={}", moved.url);
    let output = dead.archive(&out, &[&flag], &[]);
    assert_eq!(of_app(&output), both[..1], "{output:?}");
    assert!(moved.asked().len() < 40);
    fs::remove_file(&out).unwrap();

    // By the environment, with another server before it that nobody is at.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let urls = format!("{gone} {}/", server.url);
    let output = dead.archive(&out, &["--debuginfod"], &[("DEBUGINFOD_URLS", &urls)]);
    assert_eq!(of_app(&output), both, "{output:?}");
}

#[test]
fn what_is_not_what_was_asked_for_is_not_believed() {
    let Some(dead) = Dead::new() else { return };
    let mut other = dead.program.clone();
    let id: Vec<u8> = (0..dead.id.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&dead.id[at..at + 2], 16).unwrap())
        .collect();
    let at = other
        .windows(id.len())
        .position(|window| window == id)
        .unwrap();
    other[at] ^= 1;
    let cases = [
        ("other", Say::Bytes(other), vec![]),
        (
            "text",
            Say::Bytes(b"<html>not here</html>".to_vec()),
            vec![],
        ),
        ("short", Say::Short(dead.program.clone()), vec![]),
        (
            "long",
            Say::Bytes(dead.program.clone()),
            vec![("DEBUGINFOD_MAXSIZE", "1000")],
        ),
        ("slow", Say::Silence, vec![("DEBUGINFOD_TIMEOUT", "1")]),
        (
            "stall",
            Say::Stall(dead.program.clone()),
            vec![("DEBUGINFOD_TIMEOUT", "1")],
        ),
        ("trouble", Say::Trouble, vec![]),
    ];
    for (name, say, environment) in cases {
        let server = Server::start(HashMap::from([(dead.url("executable"), say)]));
        let out = dead.folder.path().join(name);
        let flag = format!("--debuginfod={}", server.url);
        let begun = Instant::now();
        let output = dead.archive(&out, &[&flag], &environment);
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert!(server.asked().contains(&dead.url("executable")), "{name}");
        // Not there, or no more than the headers that the core has.
        for (kind, included, rebuilt) in of_app(&output) {
            assert!(kind == "executable" && (!included || rebuilt), "{name}");
        }
    }
}

#[test]
fn over_https() {
    let Some(dead) = Dead::new() else { return };
    let at = |name: &str| dead.folder.path().join(name);
    let place = at("www").join(dead.url("executable").trim_start_matches('/'));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, &dead.program).unwrap();
    let script = "set -e; openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2> req.log\n\
        cd www; exec python3 -c 'import http.server, ssl\n\
server = http.server.HTTPServer((\"127.0.0.1\", 0), http.server.SimpleHTTPRequestHandler)\n\
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
context.load_cert_chain(\"../cert.pem\", \"../key.pem\")\n\
server.socket = context.wrap_socket(server.socket, server_side=True)\n\
print(server.server_port, flush=True)\n\
server.serve_forever()'";
    let mut server = Command::new("sh")
        .args(["-c", script])
        .current_dir(dead.folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    if port.is_empty() {
        println!("skipped: there is no openssl or no python3 here");
        server.wait().unwrap();
        return;
    }
    let flag = format!("--debuginfod=https://127.0.0.1:{}", port.trim());
    let cert = at("cert.pem");
    let trusted = [("SSL_CERT_FILE", cert.to_str().unwrap())];
    let strange = dead.archive(&at("strange.tar.gz"), &[&flag], &[]);
    let known = dead.archive(&at("known.tar.gz"), &[&flag], &trusted);
    server.kill().unwrap();
    server.wait().unwrap();
    // A certificate that nobody vouches for.
    assert!(
        of_app(&strange)
            .iter()
            .all(|(_, included, rebuilt)| !included || *rebuilt)
    );
    assert_eq!(
        of_app(&known)[0],
        ("executable".to_owned(), true, false),
        "{known:?}"
    );
}
