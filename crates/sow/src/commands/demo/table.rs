//! The table at the end of the demonstration.

use std::{fmt::Write as _, time::Duration};

use super::measurement::{Measurement, Mode};

/// The table: a line for each number of receivers, with client/server and peer-to-peer.
pub(super) fn render(measurements: &[Measurement]) -> String {
    let mut text = String::from(
        "seconds until the last receiver has a verified copy\n\n\
         receivers   client/server (bound)   peer-to-peer (bound)   origin sent (files)   faster\n",
    );
    let find = |mode, receivers| {
        measurements.iter().find(|one| one.mode == mode && one.receivers == receivers)
    };
    for receivers in 1.. {
        let (Some(server), Some(peers)) =
            (find(Mode::ClientServer, receivers), find(Mode::PeerToPeer, receivers))
        else {
            break;
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{receivers:>9}   {:>13} {:>7}   {:>12} {:>7}   {:>19}   {:>4.1} ×",
            seconds(server.last),
            format!("({})", seconds(server.bound)),
            seconds(peers.last),
            format!("({})", seconds(peers.bound)),
            format!("{:.2} / {:.2}", server.origin_sent, peers.origin_sent),
            server.last.as_secs_f64() / peers.last.as_secs_f64().max(0.001),
        );
    }
    text.push_str("\nEvery copy was compared with the original, byte by byte.");
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_receivers_has_a_line() {
        let measurement = |mode, receivers, last| Measurement {
            mode,
            receivers,
            last: Duration::from_millis(last),
            bound: Duration::from_millis(2100),
            origin_sent: 1.0,
        };
        let table = render(&[
            measurement(Mode::ClientServer, 1, 2120),
            measurement(Mode::PeerToPeer, 1, 2130),
            measurement(Mode::ClientServer, 2, 4200),
            measurement(Mode::PeerToPeer, 2, 2100),
        ]);
        insta::assert_snapshot!(table, @r"
        seconds until the last receiver has a verified copy

        receivers   client/server (bound)   peer-to-peer (bound)   origin sent (files)   faster
                1            2.12  (2.10)           2.13  (2.10)           1.00 / 1.00    1.0 ×
                2            4.20  (2.10)           2.10  (2.10)           1.00 / 1.00    2.0 ×

        Every copy was compared with the original, byte by byte.
        ");
    }
}
