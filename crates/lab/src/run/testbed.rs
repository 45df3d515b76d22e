//! A testbed: a network that is up and a folder with the files to distribute. Runs use it one after
//! the other; what a run does is not known here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    RunError, Setup,
    plan::{Task, largest_shape},
    test_file,
    transfer::Transfer,
    workspace::Workspace,
};
use crate::{
    bound::payload_rate,
    network::{Calibration, CounterReader, DelayMethod, Lab},
    record::{self, Header},
    scenario::Scenario,
};

/// The room for files that programs write beside the copies.
const EXTRA_BYTES: u64 = 64 << 20;

/// A network and a folder. Both are removed when this is dropped.
pub(super) struct Testbed {
    counters: CounterReader,
    lab: Lab,
    /// The measured properties of its links.
    pub(super) calibration: Calibration,
    /// The seed of the files that exist now.
    seed: Option<u64>,
    workspace: Workspace,
}

impl Testbed {
    /// Builds a network for the largest run, measures it, and takes a workspace with room for
    /// `bytes`.
    ///
    /// # Errors
    /// When there is no room, the network cannot be built or measured, or `stop` is set.
    pub(super) fn build(
        scenario: &Scenario,
        setup: &Setup,
        bytes: u64,
        stop: &AtomicBool,
    ) -> Result<Self, RunError> {
        let is_interrupted = || stop.load(Ordering::Relaxed);
        let workspace = Workspace::take(bytes).map_err(RunError::Workspace)?;
        let topology =
            scenario.network.topology(workspace.lab_name().clone(), largest_shape(scenario));
        let built = Lab::up(&topology, &setup.sow, stop).and_then(|lab| {
            let calibration = lab.calibrate()?;
            Ok((lab.counter_reader()?, lab, calibration))
        });
        // Ctrl-C also ends the programs that build the network, whose errors then say nothing.
        let (counters, lab, calibration) = match built {
            _ if is_interrupted() => return Err(RunError::Interrupted),
            built => built?,
        };
        Ok(Self { counters, lab, calibration, seed: None, workspace })
    }

    /// Adds the machine and the measured links to a header, if no other testbed has.
    pub(super) fn describe(&self, header: &mut Header) {
        if !self.calibration.is_good() {
            header.notes.push(format!(
                "The links of {} were off by more than 2 % of a rate or 1 ms when they were \
                 measured.",
                self.calibration.lab
            ));
        }
        if !header.calibration.is_empty() {
            return;
        }
        header.kernel = format!("Linux {}", self.calibration.kernel);
        header.cpus = u32::try_from(self.calibration.processors).ok();
        header.topology.delay_by = match self.lab.delay_method() {
            DelayMethod::None => "none",
            DelayMethod::Netem => "netem",
            DelayMethod::Relay => "relay",
        }
        .to_owned();
        header.calibration = self
            .calibration
            .paths
            .iter()
            .map(|path| record::Calibration {
                from: path.from.clone(),
                to: path.to.clone(),
                payload_bytes_per_second: Some(path.payload_rate / 8.0),
                expected_payload_bytes_per_second: Some(payload_rate(path.wanted_rate as f64)),
                round_trip_seconds: Some(path.round_trip_us as f64 / 1e6),
                expected_round_trip_seconds: Some(path.wanted_round_trip_us as f64 / 1e6),
                loss: Some(f64::from(path.lost) / f64::from(path.pings.max(1))),
            })
            .collect();
    }

    /// The file that a run sends, in a folder of its own. It is written unless the previous run had
    /// the same.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn test_file(
        &mut self,
        scenario: &Scenario,
        task: &Task,
        bytes: u64,
    ) -> io::Result<PathBuf> {
        let all_files = self.workspace.folder().join("files");
        if self.seed != Some(task.seed) {
            self.seed = None;
            match fs::remove_dir_all(&all_files) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.seed = Some(task.seed);
        }
        let file = &scenario.files[task.file];
        let folder = all_files.join(task.file.to_string());
        let path = folder.join(file.disk_name(task.file));
        if !path.exists() {
            fs::create_dir_all(&folder)?;
            test_file::write(&file.content, bytes, task.seed, &path)?;
        }
        Ok(path)
    }

    /// A transfer of this file on this testbed.
    pub(super) fn transfer<'a>(
        &'a self,
        scenario: &'a Scenario,
        setup: &'a Setup,
        content: &'a Path,
        bytes: u64,
        stop: &'a AtomicBool,
    ) -> Transfer<'a> {
        Transfer {
            scenario,
            lab: &self.lab,
            counters: &self.counters,
            shape: largest_shape(scenario),
            sow: &setup.sow,
            content,
            bytes,
            folder: self.workspace.folder().join("run"),
            stop,
        }
    }
}

/// The bytes that a testbed needs for the files of a scenario: all originals, a copy for each host
/// of the largest run, and [`EXTRA_BYTES`].
pub(super) fn bytes_needed(scenario: &Scenario, bytes: &[u64]) -> u64 {
    let originals = bytes.iter().fold(0_u64, |sum, &bytes| sum.saturating_add(bytes));
    let largest = bytes.iter().copied().max().unwrap_or_default();
    let copies = largest.saturating_mul(largest_shape(scenario).hosts() as u64);
    originals.saturating_add(copies).saturating_add(EXTRA_BYTES)
}
