//! A running `sow serve`, and what is asked of it.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::support::{Running, sow, text};

/// A `sow serve` on a free port of loopback, with its state in a folder of its own.
pub(crate) struct Service {
    pub(crate) running: Running,
    /// `HOST:PORT`, once it is ready.
    pub(crate) address: String,
    /// The `share` events so far, by path.
    pub(crate) shares: BTreeMap<String, Value>,
}

impl Service {
    /// The command, with more arguments. Files are hashed at once.
    pub(crate) fn command(state: &Path, more: &[&str]) -> Command {
        Self::command_settling("0s", state, more)
    }

    /// The same, for files that must be quiet for this time.
    pub(crate) fn command_settling(settle: &str, state: &Path, more: &[&str]) -> Command {
        let mut command = sow(["serve", "--bind", "127.0.0.1", "--port", "0", "--json"]);
        command.args(["--settle", settle, "--state", text(state)]).args(more);
        command
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(state: &Path, more: &[&str]) -> Self {
        Self::start_as(&mut Self::command(state, more))
    }

    /// The same with a command that was made before.
    pub(crate) fn start_as(command: &mut Command) -> Self {
        let running = Running::start(command);
        let mut service = Self { running, address: String::new(), shares: BTreeMap::new() };
        let ready = service.event(|event| event["event"] == "ready");
        service.address = format!("127.0.0.1:{}", ready["port"]);
        service
    }

    /// The next event that is wanted; `share` events on the way are kept.
    pub(crate) fn event(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let shares = std::cell::RefCell::new(&mut self.shares);
        self.running.event(|event| {
            if event["event"] == "share" {
                let path = event["path"].as_str().expect("a path").to_owned();
                shares.borrow_mut().insert(path, event.clone());
            }
            is_wanted(event)
        })
    }

    /// Waits until a path is shared, or withdrawn, and returns that event.
    pub(crate) fn share(&mut self, path: &Path, state: &str) -> Value {
        let is_it = |event: &Value| event["path"] == text(path) && event["state"] == state;
        match self.shares.get(text(path)).filter(|event| is_it(event)) {
            Some(event) => event.clone(),
            None => self.event(is_it),
        }
    }

    /// The ticket of a path that is shared.
    pub(crate) fn ticket(&mut self, path: &Path) -> String {
        self.share(path, "shared")["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// Waits until so many paths are shared.
    pub(crate) fn wait_for_shares(&mut self, count: usize) {
        while self.shares.len() < count {
            self.event(|event| event["event"] == "share");
        }
    }
}
