//! A network that is up and the files beside it, on which runs are made one after the other. What a
//! run is, is not known here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    RunError, Setup, content,
    plan::{Task, whole_shape},
    slot::Slot,
    transfer::Site,
};
use crate::{
    bound::payload_rate,
    network::{Calibration, CounterReader, DelayMethod, Lab},
    record::{self, Header},
    scenario::Scenario,
};

/// For whatever programs write beside copies.
const MORE_ROOM: u64 = 64 << 20;

/// A network and a folder. Both go when this is dropped.
pub(super) struct Stand {
    counters: CounterReader,
    lab: Lab,
    /// What its links do.
    pub(super) calibration: Calibration,
    /// The seed of the files that are there.
    seed: Option<u64>,
    slot: Slot,
}

impl Stand {
    /// Builds a network for the largest run, measures it, and makes sure of so many bytes of room.
    ///
    /// # Errors
    /// When there is no room, it cannot be built or measured, or it was asked to stop.
    pub(super) fn build(
        scenario: &Scenario,
        setup: &Setup,
        room: u64,
        stop: &AtomicBool,
    ) -> Result<Self, RunError> {
        let interrupted = || stop.load(Ordering::Relaxed);
        let slot = Slot::take(room).map_err(RunError::Place)?;
        let topology = scenario.network.topology(slot.name().clone(), whole_shape(scenario));
        let built = Lab::up(&topology, &setup.sow, stop).and_then(|lab| {
            let calibration = lab.calibrate()?;
            Ok((lab.counter_reader()?, lab, calibration))
        });
        // Ctrl-C ends programs that build it, too.
        let (counters, lab, calibration) = match built {
            _ if interrupted() => return Err(RunError::Interrupted),
            built => built?,
        };
        Ok(Self { counters, lab, calibration, seed: None, slot })
    }

    /// Says in a header what this machine and its links are, if no other stand has.
    pub(super) fn describe(&self, header: &mut Header) {
        if !self.calibration.is_good() {
            header.notes.push(format!(
                "The links of {} were off by more than 2 % of a rate or 1 ms when they were measured.",
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

    /// The file that a run sends, which is made unless the run before had the same. It has a folder
    /// of its own.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn content(
        &mut self,
        scenario: &Scenario,
        task: &Task,
        bytes: u64,
    ) -> io::Result<PathBuf> {
        let all = self.slot.folder().join("files");
        if self.seed != Some(task.seed) {
            self.seed = None;
            match fs::remove_dir_all(&all) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.seed = Some(task.seed);
        }
        let file = &scenario.files[task.file];
        let folder = all.join(task.file.to_string());
        let path = folder.join(&file.name);
        if !path.exists() {
            fs::create_dir_all(&folder)?;
            content::write(&file.content, bytes, task.seed, &path)?;
        }
        Ok(path)
    }

    /// Where a run with this file takes place.
    pub(super) fn site<'a>(
        &'a self,
        scenario: &'a Scenario,
        setup: &'a Setup,
        content: &'a Path,
        bytes: u64,
        stop: &'a AtomicBool,
    ) -> Site<'a> {
        Site {
            scenario,
            lab: &self.lab,
            counters: &self.counters,
            shape: whole_shape(scenario),
            sow: &setup.sow,
            content,
            bytes,
            folder: self.slot.folder().join("run"),
            stop,
        }
    }
}

/// The bytes that a stand needs for the files of a scenario: all originals, a copy for each host of
/// the largest run, and more.
pub(super) fn room(scenario: &Scenario, bytes: &[u64]) -> u64 {
    let originals = bytes.iter().fold(0_u64, |sum, &bytes| sum.saturating_add(bytes));
    let largest = bytes.iter().copied().max().unwrap_or_default();
    let copies = largest.saturating_mul(whole_shape(scenario).hosts() as u64);
    originals.saturating_add(copies).saturating_add(MORE_ROOM)
}
