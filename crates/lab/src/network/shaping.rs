//! How a link of a given rate is made with tc(8): the token bucket's size and the queue's.

/// Ethernet header and 1,500 bytes.
pub(super) const FRAME: u64 = 1514;

/// How late the kernel's timer may be on a busy machine without the link losing some of its rate.
const BURST_US: u64 = 4000;
/// A faster link may send this much at once. Timers are later in bytes there, and a burst matters
/// less.
const LEAST_BURST: u64 = 4 * FRAME;
/// What fits in front of the slowest link: the first flight of a few connections.
const LEAST_QUEUE: u64 = 20 * FRAME;

/// The root queue of an interface: `rate` in bits per second, at most `queue_us` of waiting.
///
/// tbf counts whole Ethernet frames. Its bucket is small, so that a transfer gains next to nothing
/// from a link that was idle.
pub(super) fn tbf(interface: &str, rate: u64, queue_us: u64) -> String {
    format!(
        "qdisc add dev {interface} root handle 1: tbf rate {rate}bit burst {} limit {}",
        burst(rate),
        queue(rate, queue_us)
    )
}

/// The kernel's delay, as the queue inside the token bucket. It holds what is under way and what
/// waits.
pub(super) fn netem(interface: &str, rate: u64, queue_us: u64, delay_us: u64) -> String {
    let frames = (queue(rate, queue_us) + bytes_in(rate, delay_us)).div_ceil(FRAME) + 20;
    format!(
        "qdisc add dev {interface} parent 1:1 handle 2: netem delay {delay_us}us limit {frames}"
    )
}

fn burst(rate: u64) -> u64 {
    bytes_in(rate, BURST_US).max(LEAST_BURST)
}

fn queue(rate: u64, queue_us: u64) -> u64 {
    bytes_in(rate, queue_us).max(LEAST_QUEUE).min(u64::from(u32::MAX))
}

/// What a rate carries in a time.
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
    fn the_kernels_delay_has_room_for_what_is_under_way() {
        let line = netem("eth0", 10_000_000, 100_000, 5000);
        // 125,000 waiting and 6,250 under way.
        assert_eq!(line, "qdisc add dev eth0 parent 1:1 handle 2: netem delay 5000us limit 107");
    }
}
