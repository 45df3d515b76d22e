//! What a service manager is told (sd_notify(3)), what it asks for, and the socket that it passes
//! on (sd_listen_fds(3)).

use std::{
    fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    service::Service,
    support::{TEST_TIMEOUT, http::get, noise_file, sow_path, text, wait_until},
};

/// What the manager was told.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self(socket)
    }

    /// Waits until it is told something that begins like this; returns all of it.
    #[track_caller]
    fn wait_for(&self, beginning: &str) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let mut buffer = [0; 500];
        while Instant::now() < deadline {
            let Ok(length) = self.0.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.starts_with(beginning) {
                return message;
            }
        }
        panic!("the manager was not told {beginning}");
    }
}

#[test]
fn a_manager_is_told_when_it_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) =
        (noise_file(folder.path(), "1", 1000), noise_file(folder.path(), "2", 2000));
    let config = folder.path().join("serve.toml");
    fs::write(&config, "paths = [\"1\"]\n").unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let mut command = Service::command(&folder.path().join("state"), &["--config", text(&config)]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut service = Service::start_as(&mut command);
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=1 shared");
    service.ticket(&first);
    fs::write(&config, "paths = [\"1\", \"2\"]\nhost_names = [\"x\"]\n").unwrap();
    service.running.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
    let (_, time) = reloading.rsplit_once('=').unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    manager.wait_for("READY=1");
    service.ticket(&second);
    fs::write(&config, "paths = [\"2\"]\nnonsense = 1\n").unwrap();
    service.running.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    fs::write(&config, "paths = [\"2\"]\n").unwrap();
    service.running.signal(Signal::HUP);
    let gone = service.share(&first, "withdrawn");
    assert!(gone["reason"].as_str().unwrap().contains("taken off the list"), "{gone}");
    service.running.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    service.running.wait().expect(0).says(&[
        "serve.toml, line 2",
        "what was read before is kept",
        "restart to change them",
    ]);
}

#[test]
fn the_socket_of_a_manager_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 50_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A service manager names the process that the descriptors from 3 on are for.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 0</dev/null";
    let state = folder.path().join("state");
    let serve = Service::command(&state, &[text(&path)]);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(sow_path()).args(serve.get_args());
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let mut service = Service::start_as(&mut command);
    assert_eq!(service.address, address);
    assert!(service.ticket(&path).starts_with(&address));
    wait_until("it answers", || get(&address, "/healthz", &[]).status == 200);
    service.running.interrupt();
    service.running.wait().expect(0).says(&["on the socket of the service manager"]);
}

#[test]
fn several_sockets_of_a_manager_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 10);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\" 3<&0 4<&0 0</dev/null";
    let serve = Service::command(&folder.path().join("state"), &[text(&path)]);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(sow_path()).args(serve.get_args());
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    crate::support::Running::start(&mut command).wait().expect(1).says(&["there are 2"]);
}
