//! Tests of what a terminal shows of a fleet.

use super::*;
use sow_content::Geometry;

const TOTAL: u64 = 1_000_000_000;
const NOW: Duration = Duration::from_secs(72);

fn geometry() -> Geometry {
    Geometry::new(TOTAL, 1 << 20).unwrap()
}

fn receiver(index: usize, state: ReceiverState, percent: u64) -> Receiver {
    Receiver {
        id: format!("{index:040x}"),
        addr: Some(([10, 0, (index / 250) as u8, (index % 250) as u8 + 1], 35_197).into()),
        state,
        is_connected: state == ReceiverState::Connected,
        bytes: TOTAL / 100 * percent,
        rate: 1_234_567,
        first_seen: Some(Duration::from_secs(2)),
        last_seen: Some(NOW),
        last_progress: Some(NOW),
        finished: (state == ReceiverState::Complete).then_some(Duration::from_secs(60)),
        ..Receiver::missing(&format!("web{index:03}.example.org"), TOTAL)
    }
}

/// This many receivers: two failed, one gone, one stalled, two not connected, a tenth complete.
fn fleet(count: usize) -> Vec<Receiver> {
    let mut all: Vec<Receiver> = (0..count)
        .map(|index| receiver(index, ReceiverState::Connected, 40 + (index % 13) as u64))
        .collect();
    for index in 0..count / 20 * 2 {
        all[index * 9 % count] = receiver(index, ReceiverState::Complete, 100);
    }
    if count > 10 {
        let reason = "cannot write /srv/images/big.iso: No space left on device (os error 28)";
        for index in [3, 4] {
            all[index] = receiver(index, ReceiverState::Failed, 41);
            all[index].last_error = Some(reason.to_owned());
        }
        all[5] = receiver(5, ReceiverState::Gone, 43);
        all[6].last_progress = Some(Duration::from_secs(20));
        all[7] = Receiver::missing("web007.example.org", TOTAL);
        all[8] = Receiver::missing("web008.example.org", TOTAL);
    }
    all
}

fn lines(all: &[Receiver], columns: usize, rows: usize) -> Vec<Line> {
    let counts = FleetCounts::new(&geometry(), all, NOW);
    let view = FleetView {
        name: "image-2026-11-29-amd64.iso",
        command: Some("sow get 10.0.0.1:52000/6hx2abcdefghijklmnopqrstuvwxyz23"),
        receivers: all,
        counts: &counts,
        pushed: None,
        expected: Some(all.len()),
        complete: counts.complete,
        now: NOW,
        rate_up: 10_400_000,
    };
    view.lines(columns, rows)
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| line.plain() + "\n").collect()
}

#[test]
fn three_receivers_have_a_bar_each() {
    let shown = text(&lines(&fleet(3), 80, 24));
    assert_eq!(
        shown,
        "\
image-2026-11-29-amd64.iso ━━━━━━━━━━━━━━━━──────────────────────── 41.0 %
0 of 3 complete, 3 downloading
elapsed 1m12s  8m06s left  fleet 3.7 MB/s  up 10.4 MB/s
sow get 10.0.0.1:52000/6hx2abcdefghijklmnopqrstuvwxyz23
web000.example.org ━━━━━━━━────────────  40.0 %   1.2 MB/s    8m06s left
web001.example.org ━━━━━━━━────────────  41.0 %   1.2 MB/s    7m57s left
web002.example.org ━━━━━━━━────────────  42.0 %   1.2 MB/s    7m49s left
"
    );
}

#[test]
fn nothing_is_wider_or_higher_than_the_terminal() {
    for count in [0, 1, 3, 12, 40, 200, 1000] {
        let all = fleet(count);
        for columns in [1, 20, 40, 79, 80, 100, 200, 500] {
            for rows in [1, 5, 10, 24, 50] {
                let lines = lines(&all, columns, rows);
                let is_command = |line: &Line| line.plain().starts_with("sow get ");
                let command = lines.iter().filter(|line| is_command(line));
                assert_eq!(command.count(), 1, "{count} on {columns}x{rows}");
                if columns >= 20 {
                    let widest = lines.iter().filter(|line| !is_command(line)).map(Line::width);
                    assert!(widest.max() <= Some(columns), "{count} {columns}: {}", text(&lines));
                }
                let taken: usize = lines.iter().map(|line| line.rows(columns)).sum();
                if rows >= 24 && columns >= 40 {
                    assert!(taken < rows, "{count} on {columns}x{rows}: {}", text(&lines));
                }
            }
        }
    }
}

#[test]
fn every_receiver_is_shown_or_counted() {
    for (count, columns, rows) in [(12, 80, 24), (40, 80, 24), (40, 40, 24), (200, 200, 50)] {
        let shown = text(&lines(&fleet(count), columns, rows));
        let named = shown.matches("web0").count() + shown.matches("web1").count();
        let more = shown.split("and ").nth(1).and_then(|rest| rest.split(' ').next());
        let more: usize = more.map_or(0, |more| more.parse().unwrap());
        assert_eq!(named + more, count, "{shown}");
        for figure in ["elapsed 1m12s", " left", "fleet ", "up 10.4 MB/s", " complete"] {
            assert!(shown.contains(figure), "{figure}: {shown}");
        }
        assert!(shown.contains("2 failed") && shown.contains("1 disconnected"), "{shown}");
        let words: Vec<&str> = shown.split_whitespace().collect();
        let reason = "No space left on device (os error 28)";
        assert!(words.join(" ").contains(reason), "a reason is whole: {shown}");
    }
}
