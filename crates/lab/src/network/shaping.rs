//! The tc(8) commands of a shaped link: sizes of the token bucket and of the queue. Which links
//! there are is decided elsewhere.

/// The bytes of a full frame: 14 of Ethernet header and 1,500 of payload.
pub(super) const FRAME_BYTES: u64 = 1514;

/// The size of the token bucket as a time: how late the kernel's timer may be on a busy machine
/// before the link loses some of its rate.
const BURST_US: u64 = 4000;
/// The minimum size of the token bucket.
const MIN_BURST_BYTES: u64 = 4 * FRAME_BYTES;
/// The minimum size of a queue: the initial windows of a few connections.
const MIN_QUEUE_BYTES: u64 = 20 * FRAME_BYTES;

/// The root queue of an interface: `rate` in bits per second, a queueing time of at most
/// `queue_us`.
///
/// tbf counts whole Ethernet frames. Its bucket is small, so that a transfer gains almost nothing
/// from a link that was idle before.
pub(super) fn tbf(interface: &str, rate: u64, queue_us: u64) -> String {
    format!(
        "qdisc add dev {interface} root handle 1: tbf rate {rate}bit burst {} limit {}",
        burst_bytes(rate),
        queue_bytes(rate, queue_us)
    )
}

/// The netem delay, as the queue inside the token bucket. It has room for the frames in flight and
/// for those that wait.
pub(super) fn netem(interface: &str, rate: u64, queue_us: u64, delay_us: u64) -> String {
    let bytes = queue_bytes(rate, queue_us) + bytes_in(rate, delay_us);
    let frames = bytes.div_ceil(FRAME_BYTES) + 20;
    format!(
        "qdisc add dev {interface} parent 1:1 handle 2: netem delay {delay_us}us limit {frames}"
    )
}

fn burst_bytes(rate: u64) -> u64 {
    bytes_in(rate, BURST_US).max(MIN_BURST_BYTES)
}

fn queue_bytes(rate: u64, queue_us: u64) -> u64 {
    bytes_in(rate, queue_us).max(MIN_QUEUE_BYTES).min(u64::from(u32::MAX))
}

/// The bytes that a rate carries in a time.
fn bytes_in(rate: u64, us: u64) -> u64 {
    let bytes = u128::from(rate) * u128::from(us) / 8_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_queues_grow_with_the_rate() {
        assert_eq!(
            tbf("eth0", 10_000_000, 100_000),
            "qdisc add dev eth0 root handle 1: tbf rate 10000000bit burst 6056 limit 125000"
        );
        assert_eq!(
            tbf("eth0", 100_000, 100_000),
            "qdisc add dev eth0 root handle 1: tbf rate 100000bit burst 6056 limit 30280"
        );
        assert_eq!(
            tbf("h1", 1_000_000_000, 50_000),
            "qdisc add dev h1 root handle 1: tbf rate 1000000000bit burst 500000 limit 6250000"
        );
        assert_eq!(bytes_in(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_netem_queue_has_room_for_the_frames_in_flight() {
        let line = netem("eth0", 10_000_000, 100_000, 5000);
        // 125,000 bytes in the queue and 6,250 in flight.
        assert_eq!(line, "qdisc add dev eth0 parent 1:1 handle 2: netem delay 5000us limit 107");
    }
}
