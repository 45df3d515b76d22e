//! The delay where the kernel has no netem: a process that stands between hosts and switch and
//! holds every frame for a while.
//!
//! Each link is a pair of TAP devices, one the host's `eth0`, the other a port of the switch. Rates
//! are the business of the queues in front of both; what comes out of one is written to the other
//! when its time has come. Nothing is reordered or changed.

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

/// An Ethernet frame of 1,500 bytes, with its header and a tag.
const MAX_FRAME: usize = 1518;
/// So many frames may be held, 190 MiB; more are lost, as on any line.
const MAX_HELD: usize = 1 << 17;
/// So many frames are taken from one device before the others, and what is due, have their turn.
const TURN: usize = 32;
/// What is due within this time goes out: about what it takes to be woken, twice, by a frame that
/// comes and by the timer. It also lets frames that are due one after the other share a wake-up.
const EARLY_NS: u64 = 80_000;
/// The events' tag for the timer; devices have their index.
const TIMER: u64 = u64::MAX;

/// What a relay is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayTask {
    /// The links, h1's first.
    pub(super) links: Vec<RelayLink>,
}

/// A link through the relay: two devices that it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayLink {
    /// The device on the switch's side.
    pub(super) port: String,
    /// The device on the host's side.
    pub(super) host: String,
    /// How long each frame is held, in microseconds.
    pub(super) delay_us: u64,
}

/// Makes the devices in the namespace that this process is in, says `ready` on standard output, and
/// relays until the devices are gone.
///
/// # Errors
/// When a device cannot be made, or the system fails.
pub(super) fn run(task: &RelayTask) -> io::Result<()> {
    let mut devices = Vec::new();
    for link in &task.links {
        for name in [&link.host, &link.port] {
            devices.push(Device { tap: tap(name)?, delay_ns: link.delay_us * 1000 });
        }
    }
    let mut relay = Relay::new(devices)?;
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush())?;
    relay.run()
}

fn tap(name: &str) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L2).enable(false).build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

struct Device {
    tap: SyncDevice,
    delay_ns: u64,
}

/// A frame that waits for its time. Earlier ones are the greater for the heap; those of one time
/// keep their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Reverse<u64>,
    order: Reverse<u64>,
    to: usize,
    frame: Vec<u8>,
}

struct Relay {
    devices: Vec<Device>,
    poll: rustix::fd::OwnedFd,
    timer: rustix::fd::OwnedFd,
    held: BinaryHeap<Held>,
    order: u64,
    /// Frames to be used again.
    spare: Vec<Vec<u8>>,
    /// What the timer was set for, in nanoseconds; 0 when it has gone off.
    armed: u64,
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
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        Ok(Self {
            devices,
            poll,
            timer,
            held: BinaryHeap::new(),
            order: 0,
            spare: Vec::new(),
            armed: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut gone = 0;
        while gone < self.devices.len() {
            self.deliver();
            self.arm()?;
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
                    // The timer: that it has gone off is all it has to say.
                    let _ = read(&self.timer, &mut [0; 8]);
                    self.armed = 0;
                    continue;
                };
                if let Err(error) = self.collect(index) {
                    // A device that was removed, with its namespace, has nothing more to say.
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

    /// Takes what a device has, up to a turn's worth.
    fn collect(&mut self, index: usize) -> Result<(), Errno> {
        // The two ends of a link are neighbours.
        let to = index ^ 1;
        for _ in 0..TURN {
            let mut frame = self.spare.pop().unwrap_or_default();
            frame.resize(MAX_FRAME, 0);
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
            if self.held.len() < MAX_HELD {
                let due = Reverse(now() + self.devices[index].delay_ns);
                self.order += 1;
                self.held.push(Held { due, order: Reverse(self.order), to, frame });
            } else {
                self.spare.push(frame);
            }
        }
        Ok(())
    }

    /// Sends on what is due.
    fn deliver(&mut self) {
        while let Some(first) = self.held.peek_mut() {
            if first.due.0 > now() + EARLY_NS {
                return;
            }
            let held = PeekMut::pop(first);
            // A device that is down, or gone, loses it, as a line does.
            let _ = write(&self.devices[held.to].tap, &held.frame);
            if self.spare.len() < 1024 {
                self.spare.push(held.frame);
            }
        }
    }

    /// Has the timer go off when the next frame is due.
    fn arm(&mut self) -> io::Result<()> {
        let Some(next) = self.held.peek().map(|held| held.due.0).filter(|due| *due != self.armed)
        else {
            return Ok(());
        };
        let wake = next.saturating_sub(EARLY_NS);
        let at = Timespec {
            tv_sec: i64::try_from(wake / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wake % 1_000_000_000).unwrap_or(0),
        };
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never_again, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.armed = next;
        Ok(())
    }
}

/// Nanoseconds of the clock that only goes forward.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_by_time_and_then_in_the_order_they_came() {
        let held = |due, order| Held {
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
