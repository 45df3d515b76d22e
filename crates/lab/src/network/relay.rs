//! The delay of links where the kernel has no netem: a process between hosts and switch that holds
//! every frame for the link's delay.
//!
//! Each link is a pair of TAP devices: the host's `eth0` and a port of the switch. A frame that is
//! read from one device is written to the other when it is due; frames are neither reordered nor
//! changed. Rates are enforced by the queues in front of both devices, not here.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    io::{self, Write as _},
    mem::MaybeUninit,
};

use rustix::{
    event::{Timespec, epoll},
    io::{Errno, read, write},
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
        timerfd_create, timerfd_settime,
    },
};
use serde::{Deserialize, Serialize};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// The device that makes TAP devices. An ordinary user needs write access to it.
pub(super) const TUN_DEVICE: &str = "/dev/net/tun";

/// The limit of a frame in bytes: 1,500 of payload, with header and VLAN tag.
const MAX_FRAME_BYTES: usize = 1518;
/// The limit of held frames (190 MiB). Frames beyond it are dropped, as on any link.
const MAX_HELD_FRAMES: usize = 1 << 17;
/// The limit of frames that are read from one device in a row, before due frames are sent and other
/// devices are read.
const READ_BATCH_FRAMES: usize = 32;
/// The limit of frame buffers that are kept for reuse.
const MAX_SPARE_FRAMES: usize = 1024;
/// Frames that are due within this time are sent now. It is about the latency of two wake-ups, by
/// the arriving frame and by the timer, and lets frames that are due together share one wake-up.
const SEND_AHEAD_NS: u64 = 80_000;
/// The epoll tag of the timer. The tag of a device is its index.
const TIMER_TAG: u64 = u64::MAX;

/// The task of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayTask {
    /// The links, h1's first.
    pub(super) links: Vec<RelayLink>,
}

/// A link through the relay: a pair of devices that the relay makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayLink {
    /// The device on the switch's side.
    pub(super) port: String,
    /// The device on the host's side.
    pub(super) host: String,
    /// The time that each frame is held, in microseconds.
    pub(super) delay_us: u64,
}

/// Makes the devices in this process's namespace, prints `ready` on standard output, and relays
/// until the devices are gone.
///
/// # Errors
/// When a device cannot be made, or the system fails.
pub(super) fn run(task: &RelayTask) -> io::Result<()> {
    let mut devices = Vec::new();
    for link in &task.links {
        for name in [&link.host, &link.port] {
            devices.push(Device { tap: create_tap(name)?, delay_ns: link.delay_us * 1000 });
        }
    }
    let mut relay = Relay::new(devices)?;
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush())?;
    relay.run()
}

fn create_tap(name: &str) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L2).enable(false).build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

struct Device {
    tap: SyncDevice,
    delay_ns: u64,
}

/// A frame that is held until it is due. The heap yields the earliest first; frames that are due at
/// the same time keep their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HeldFrame {
    due: Reverse<u64>,
    order: Reverse<u64>,
    to: usize,
    frame: Vec<u8>,
}

struct Relay {
    devices: Vec<Device>,
    poll: rustix::fd::OwnedFd,
    timer: rustix::fd::OwnedFd,
    held: BinaryHeap<HeldFrame>,
    order: u64,
    /// Frame buffers for reuse.
    spare: Vec<Vec<u8>>,
    /// The time that the timer is set for, in nanoseconds; 0 after it has fired.
    armed_for: u64,
}

impl Relay {
    fn new(devices: Vec<Device>) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, device) in (0..).zip(&devices) {
            epoll::add(
                &poll,
                &device.tap,
                epoll::EventData::new_u64(index),
                epoll::EventFlags::IN,
            )?;
        }
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER_TAG), epoll::EventFlags::IN)?;
        Ok(Self {
            devices,
            poll,
            timer,
            held: BinaryHeap::new(),
            order: 0,
            spare: Vec::new(),
            armed_for: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut gone = 0;
        while gone < self.devices.len() {
            self.send_due_frames();
            self.arm_timer()?;
            let mut buffer = [MaybeUninit::uninit(); 64];
            let events = match epoll::wait(&self.poll, &mut buffer, None) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events {
                let tag = event.data.u64();
                let Some(index) =
                    usize::try_from(tag).ok().filter(|index| *index < self.devices.len())
                else {
                    // Reading the timer clears its event; the count is not needed.
                    let _ = read(&self.timer, &mut [0; 8]);
                    self.armed_for = 0;
                    continue;
                };
                if let Err(error) = self.read_frames(index) {
                    // A device that was removed with its namespace is no error.
                    epoll::delete(&self.poll, &self.devices[index].tap)?;
                    gone += 1;
                    if !matches!(error, Errno::BADFD | Errno::IO | Errno::NODEV) {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the waiting frames of a device, up to [`READ_BATCH_FRAMES`].
    fn read_frames(&mut self, index: usize) -> Result<(), Errno> {
        // The two ends of a link have adjacent indices.
        let to = index ^ 1;
        for _ in 0..READ_BATCH_FRAMES {
            let mut frame = self.spare.pop().unwrap_or_default();
            frame.resize(MAX_FRAME_BYTES, 0);
            let length = match read(&self.devices[index].tap, &mut frame[..]) {
                Ok(length) => length,
                Err(Errno::AGAIN) => {
                    self.spare.push(frame);
                    return Ok(());
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            frame.truncate(length);
            if self.held.len() < MAX_HELD_FRAMES {
                let due = Reverse(now() + self.devices[index].delay_ns);
                self.order += 1;
                self.held.push(HeldFrame { due, order: Reverse(self.order), to, frame });
            } else {
                self.spare.push(frame);
            }
        }
        Ok(())
    }

    /// Sends the frames that are due.
    fn send_due_frames(&mut self) {
        while let Some(first) = self.held.peek_mut() {
            if first.due.0 > now() + SEND_AHEAD_NS {
                return;
            }
            let held = PeekMut::pop(first);
            // A device that is down or removed loses the frame, as a real link does.
            let _ = write(&self.devices[held.to].tap, &held.frame);
            if self.spare.len() < MAX_SPARE_FRAMES {
                self.spare.push(held.frame);
            }
        }
    }

    /// Sets the timer for the next due frame.
    fn arm_timer(&mut self) -> io::Result<()> {
        let next = self.held.peek().map(|held| held.due.0);
        let Some(next) = next.filter(|due| *due != self.armed_for) else { return Ok(()) };
        let wake = next.saturating_sub(SEND_AHEAD_NS);
        let at = Timespec {
            tv_sec: i64::try_from(wake / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wake % 1_000_000_000).unwrap_or(0),
        };
        let no_repeat = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: no_repeat, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.armed_for = next;
        Ok(())
    }
}

/// The monotonic clock in nanoseconds.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_by_due_time_and_then_by_order_of_arrival() {
        let held = |due, order| HeldFrame {
            due: Reverse(due),
            order: Reverse(order),
            to: 0,
            frame: Vec::new(),
        };
        let mut heap: BinaryHeap<_> = [held(20, 1), held(10, 2), held(20, 3), held(10, 4)].into();
        let left: Vec<_> =
            std::iter::from_fn(|| heap.pop()).map(|held| (held.due.0, held.order.0)).collect();
        assert_eq!(left, [(10, 2), (10, 4), (20, 1), (20, 3)]);
    }
}
