//! The service manager's side: what it is told (sd_notify(3)) and the socket that it may pass on
//! (sd_listen_fds(3)). Without one, nothing is sent and nothing is passed on.

use std::{
    env,
    ffi::OsString,
    fmt, io,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use crate::exit::{Exit, Failure};

/// What the manager is told.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    last_status: String,
}

impl ServiceManager {
    /// The manager that the environment names.
    pub(super) fn of_environment() -> Self {
        let address = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self::at(address)
    }

    fn at(address: Option<OsString>) -> Self {
        let open = |address: OsString| {
            let address = match address.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&address)?,
            };
            Ok::<_, io::Error>((UnixDatagram::unbound()?, address))
        };
        let socket = address.and_then(|address| {
            let opened = open(address);
            opened.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET is unusable")).ok()
        });
        Self { socket, last_status: String::new() }
    }

    /// It is being served, and every reload has been carried out.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is being read again; [`ServiceManager::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(format_args!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The run is about to end.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// What it is doing, for people.
    pub(super) fn status(&mut self, text: String) {
        if text != self.last_status {
            self.send(format_args!("STATUS={text}"));
            self.last_status = text;
        }
    }

    fn send(&self, message: impl fmt::Display) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.to_string().as_bytes(), address) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

/// The socket that the service manager listens on for this process, if it does.
///
/// # Errors
/// When it passes on several, or something else than a listening TCP socket.
pub(super) fn inherited_listener() -> Result<Option<TcpListener>, Failure> {
    let mut passed = ListenFd::from_env();
    let unusable = |reason: String| {
        let message = format!("the service manager passes on no usable socket: {reason}");
        Failure::new(Exit::Failed, message)
            .tip("a unit for it has one line ListenStream=PORT, and no other socket")
    };
    match passed.len() {
        0 => Ok(None),
        1 => passed.take_tcp_listener(0).map_err(|error| unusable(error.to_string())),
        several => Err(unusable(format!("there are {several}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("sow-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (receiver, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&by_name).unwrap(), format!("@{name}").into()),
        ] {
            receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let received = || {
                let mut buffer = [0; 200];
                let length = receiver.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            };
            let mut manager = ServiceManager::at(Some(address));
            manager.ready();
            assert_eq!(received(), "READY=1");
            manager.reloading();
            let reloading = received();
            let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
            manager.status("sharing 2".to_owned());
            manager.status("sharing 2".to_owned());
            manager.stopping();
            assert_eq!([received(), received()], ["STATUS=sharing 2", "STOPPING=1"]);
        }
        ServiceManager::at(None).ready();
        ServiceManager::at(Some("relative".into())).ready();
    }
}
