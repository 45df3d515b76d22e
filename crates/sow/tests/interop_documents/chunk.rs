//! `chunk`: document 1's P2P protocol, `sow` and naive programs as server and as clients of one
//! swarm.

use std::path::Path;

use crate::{
    naive::{self, SPELLINGS},
    process::Process,
    shared::{MIB, Shared},
    sow,
    world::World,
};

const CHUNK: usize = 128 << 10;
/// A byte, one chunk, a byte more, and a file.
pub(crate) const SIZES: [usize; 4] = [1, CHUNK, CHUNK + 1, 10 * MIB];
const SERVER: u8 = 1;
const SERVER_PORT: u16 = 52_000;
/// Where clients listen for each other.
pub(crate) const CLIENT_PORT: u16 = 51_000;

/// Whose program it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sow,
    Naive,
}

/// Starts a server; `spelling` may be followed by more options.
pub(crate) fn serve(
    kind: Kind,
    world: &World,
    host: u8,
    shared: &Shared,
    spelling: &str,
) -> Process {
    let line = format!("chunk server -f {}", shared.path.display());
    match kind {
        Kind::Sow => sow::serve(world, host, &format!("{line} --compat {spelling}")),
        Kind::Naive => naive::serve(world, host, &format!("{line} --spelling {spelling}")),
    }
}

/// Starts a client of the server on host `server`, which saves to `out`; `spelling` may be followed
/// by more options.
pub(crate) fn fetch(
    kind: Kind,
    world: &World,
    host: u8,
    server: u8,
    out: &Path,
    spelling: &str,
) -> Process {
    let line = format!("chunk client -s {}", world.address(server));
    match kind {
        Kind::Sow => sow::fetch(world, host, &format!("{line} --compat {spelling}"), out),
        Kind::Naive => naive::serve(
            world,
            host,
            &format!("{line} -sp {SERVER_PORT} -o {} --spelling {spelling}", out.display()),
        ),
    }
}

/// `IP:PORT` where the server of a world is, as `from` names it.
pub(crate) fn server_name(world: &World) -> String {
    format!("{}:{SERVER_PORT}", world.address(SERVER))
}

/// The bytes in every progress event.
fn progress(lines: &[String]) -> impl Iterator<Item = u64> {
    let events =
        lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter(|event| event["event"] == "progress").filter_map(|event| event["bytes"].as_u64())
}

/// One client after the other, a small file after the other.
fn one_client(sizes: &[usize], server: Kind, client: Kind) {
    let world = World::new(2);
    for spelling in SPELLINGS {
        for size in sizes {
            let shared = Shared::file(*size);
            let mut serving = serve(server, &world, SERVER, &shared, spelling);
            let out = shared.out("copy");
            // `sow` leaves at once; the naive client does so by itself.
            let option = if client == Kind::Sow { " --no-seed" } else { "" };
            let mut process =
                fetch(client, &world, 2, SERVER, &out, &format!("{spelling}{option}"));
            process.wait_success();
            shared.assert_copied_to(&out);
            assert!(serving.runs(), "the server ended");
        }
    }
}

#[test]
fn from_a_sow_server() {
    one_client(&SIZES, Kind::Sow, Kind::Naive);
}

#[test]
fn from_a_naive_server() {
    one_client(&SIZES, Kind::Naive, Kind::Sow);
}

#[test]
fn sow_to_sow() {
    one_client(&SIZES, Kind::Sow, Kind::Sow);
}

#[test]
fn a_hundred_mebibytes_from_a_sow_server() {
    one_client(&[100 * MIB], Kind::Sow, Kind::Naive);
}

#[test]
fn a_hundred_mebibytes_from_a_naive_server() {
    one_client(&[100 * MIB], Kind::Naive, Kind::Sow);
}

/// Three clients of `sow` and two naive ones at once, from a server that is slower than they are,
/// so that they need each other.
fn mixed_swarm(server: Kind, spelling: &str) {
    let (world, shared) = (World::new(6), Shared::file(10 * MIB));
    let slow = if server == Kind::Sow { "--up-limit 8MB/s" } else { "--rate 8e6" };
    let _server = serve(server, &world, SERVER, &shared, &format!("{spelling} {slow}"));
    let mut clients: Vec<_> = [Kind::Sow, Kind::Naive, Kind::Sow, Kind::Naive, Kind::Sow]
        .into_iter()
        .zip(2..)
        .map(|(kind, host)| {
            let stay = if kind == Kind::Sow { "--seed-for 60s" } else { "--linger 60" };
            let out = shared.out(&format!("copy{host}"));
            (kind, fetch(kind, &world, host, SERVER, &out, &format!("{spelling} {stay}")), out)
        })
        .collect();
    let server = server_name(&world);
    let (mut to_sow, mut to_naive) = (0, 0);
    for (kind, client, out) in &mut clients {
        let complete = client.wait_event("complete");
        shared.assert_copied_to(out);
        match kind {
            Kind::Sow => to_sow += sow::bytes_from_others(&complete, &server),
            Kind::Naive => {
                assert_eq!(complete["check"], format!("CHECK {}", shared.md5()), "{complete}");
                to_naive += naive::count_from_others(&complete, &[&server]);
            }
        }
    }
    assert!(to_sow > 0, "clients of sow got nothing from other clients");
    assert!(to_naive > 0, "naive clients got nothing from other clients");
}

#[test]
fn a_mixed_swarm_around_a_sow_server() {
    SPELLINGS.into_iter().for_each(|spelling| mixed_swarm(Kind::Sow, spelling));
}

#[test]
fn a_mixed_swarm_around_a_naive_server() {
    SPELLINGS.into_iter().for_each(|spelling| mixed_swarm(Kind::Naive, spelling));
}

/// A list of all 512 chunks is far over 1,024 bytes, which ends the thread that reads it in an
/// original.
#[test]
fn an_original_understands_the_lists_of_a_client_with_many_chunks() {
    let (world, shared) = (World::new(3), Shared::file(2 * MIB));
    let _server =
        serve(Kind::Naive, &world, SERVER, &shared, "original --chunk-size 4096 --rate 3e5");
    let (first, second) = (shared.out("sow"), shared.out("naive"));
    let mut sow = fetch(Kind::Sow, &world, 2, SERVER, &first, "original --seed-for 60s");
    sow.wait_for("300 chunks", |lines| {
        progress(lines).any(|bytes| bytes > 300 * 4096).then_some(())
    });
    let mut naive = fetch(Kind::Naive, &world, 3, SERVER, &second, "original");
    let complete = naive.wait_event("complete");
    sow.wait_event("complete");
    shared.assert_copied_to(&first);
    shared.assert_copied_to(&second);
    let name = format!("{}:{CLIENT_PORT}", world.address(2));
    // After one list that it cannot take, the naive client asks sow for nothing more.
    assert!(complete["from"][&name].as_u64() > Some(50), "from sow came too little: {complete}");
}

/// Who was there first learns of the other from its call, and calls back.
#[test]
fn who_comes_late_is_met_from_both_sides() {
    let (world, shared) = (World::new(3), Shared::file(4 * MIB));
    let names = [2, 3].map(|host| format!("{}:{CLIENT_PORT}", world.address(host)));
    for naive_first in [false, true] {
        // Slow enough that the other has started long before the first is complete.
        let _server = serve(Kind::Sow, &world, SERVER, &shared, "documented --up-limit 1MB/s");
        let room = format!("naive_first_{naive_first}");
        let (to_sow, to_naive) =
            (shared.out(&format!("{room}_sow")), shared.out(&format!("{room}_naive")));
        let sow = || fetch(Kind::Sow, &world, 2, SERVER, &to_sow, "documented --seed-for 60s");
        let naive = || fetch(Kind::Naive, &world, 3, SERVER, &to_naive, "documented --linger 60");
        let (mut sow, mut naive) = if naive_first {
            let naive = naive();
            (sow(), naive)
        } else {
            let mut sow = sow();
            sow.wait_event("ready");
            (sow, naive())
        };
        naive.wait_for("the call of sow", |lines| {
            lines
                .iter()
                .any(|line| line.contains("called") && line.contains(&names[0]))
                .then_some(())
        });
        let complete = naive.wait_event("complete");
        sow.wait_event("complete");
        shared.assert_copied_to(&to_sow);
        shared.assert_copied_to(&to_naive);
        assert!(
            complete["from"][&names[0]].as_u64() > Some(0),
            "naive got nothing from sow: {complete}"
        );
    }
}

#[test]
fn a_client_without_a_path_reports_the_md5() {
    let (world, shared) = (World::new(2), Shared::file(10 * MIB));
    let _server = serve(Kind::Naive, &world, SERVER, &shared, "documented");
    let line = format!("chunk client -s {} --no-seed", world.address(SERVER));
    let mut client = sow::start(&world, 2, &line);
    let md5 = shared.md5();
    client.wait_for("MD5", |lines| lines.iter().any(|line| line.contains(&md5)).then_some(()));
    client.wait_success();
}

/// Document 1: "only a small change and this fits networks with several trackers".
#[test]
fn one_of_two_servers_is_enough() {
    let (world, shared) = (World::new(3), Shared::file(10 * MIB));
    let _server = serve(Kind::Sow, &world, SERVER, &shared, "documented");
    let out = shared.out("copy");
    // Nothing listens on host 3.
    let line =
        format!("chunk client -s {} -s {} --no-seed", world.address(3), world.address(SERVER));
    sow::fetch(&world, 2, &line, &out).wait_success();
    shared.assert_copied_to(&out);
}

/// Document 1 warns of this; here the second is refused, and the first is not harmed.
#[test]
fn two_clients_cannot_save_to_one_path() {
    let (world, shared) = (World::new(2), Shared::file(2 * MIB));
    let _server = serve(Kind::Sow, &world, SERVER, &shared, "documented --up-limit 1MB/s");
    let out = shared.out("copy");
    let mut first = fetch(Kind::Sow, &world, 2, SERVER, &out, "documented --no-seed");
    first.wait_for("its first bytes", |lines| progress(lines).any(|bytes| bytes > 0).then_some(()));
    // However long the second takes to start, the first is not done.
    first.pause();
    let mut second = fetch(Kind::Sow, &world, 2, SERVER, &out, "documented --no-seed");
    let status = second.wait_exit();
    assert!(status.code().is_some_and(|code| code != 0), "the second: {status}");
    first.resume();
    first.wait_success();
    shared.assert_copied_to(&out);
}
