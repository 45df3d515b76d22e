//! The protocol `chunk`: `sow` and reference programs as server and as clients of one swarm.

use std::path::Path;

use crate::{
    reference::{self, SPELLINGS},
    shared_file::{MIB, SharedFile},
    sow,
    support::{process::Process, test_network::TestNetwork},
};

const CHUNK: usize = 128 << 10;
/// One byte, one chunk, one chunk and a byte, and many chunks.
pub(crate) const SIZES: [usize; 4] = [1, CHUNK, CHUNK + 1, 10 * MIB];
const SERVER: u8 = 1;
const SERVER_PORT: u16 = 52_000;
/// The port on which clients listen for each other.
pub(crate) const CLIENT_PORT: u16 = 51_000;

/// Which program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Implementation {
    Sow,
    Reference,
}

/// Starts a server; `spelling` may be followed by more options.
pub(crate) fn serve(
    kind: Implementation,
    network: &TestNetwork,
    host: u8,
    shared: &SharedFile,
    spelling: &str,
) -> Process {
    let line = format!("chunk server -f {}", shared.path.display());
    match kind {
        Implementation::Sow => sow::serve(network, host, &format!("{line} --compat {spelling}")),
        Implementation::Reference => {
            reference::serve(network, host, &format!("{line} --spelling {spelling}"))
        }
    }
}

/// Starts a client of the server on host `server`, which saves to `out`; `spelling` may be followed
/// by more options.
pub(crate) fn fetch(
    kind: Implementation,
    network: &TestNetwork,
    host: u8,
    server: u8,
    out: &Path,
    spelling: &str,
) -> Process {
    let line = format!("chunk client -s {}", network.address(server));
    match kind {
        Implementation::Sow => {
            sow::fetch(network, host, &format!("{line} --compat {spelling}"), out)
        }
        Implementation::Reference => reference::serve(
            network,
            host,
            &format!("{line} -sp {SERVER_PORT} -o {} --spelling {spelling}", out.display()),
        ),
    }
}

/// `IP:PORT` of the server, as in `from` of the event `complete`.
pub(crate) fn server_name(network: &TestNetwork) -> String {
    format!("{}:{SERVER_PORT}", network.address(SERVER))
}

/// The bytes of every progress event.
fn progress(lines: &[String]) -> impl Iterator<Item = u64> {
    let events =
        lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter(|event| event["event"] == "progress").filter_map(|event| event["bytes"].as_u64())
}

/// One client at a time fetches a file of each size.
fn one_client(sizes: &[usize], server: Implementation, client: Implementation) {
    let network = TestNetwork::new(2);
    for spelling in SPELLINGS {
        for size in sizes {
            let shared = SharedFile::file(*size);
            let mut serving = serve(server, &network, SERVER, &shared, spelling);
            let out = shared.out("copy");
            // `sow` exits at once with this option; the reference client always does.
            let option = if client == Implementation::Sow { " --no-seed" } else { "" };
            let mut process =
                fetch(client, &network, 2, SERVER, &out, &format!("{spelling}{option}"));
            process.wait_success();
            shared.assert_copied_to(&out);
            assert!(serving.is_running(), "the server ended");
        }
    }
}

#[test]
fn a_reference_client_downloads_from_a_sow_server() {
    one_client(&SIZES, Implementation::Sow, Implementation::Reference);
}

#[test]
fn a_sow_client_downloads_from_a_reference_server() {
    one_client(&SIZES, Implementation::Reference, Implementation::Sow);
}

#[test]
fn a_sow_client_downloads_from_a_sow_server() {
    one_client(&SIZES, Implementation::Sow, Implementation::Sow);
}

#[test]
fn a_hundred_mebibytes_from_a_sow_server() {
    one_client(&[100 * MIB], Implementation::Sow, Implementation::Reference);
}

#[test]
fn a_hundred_mebibytes_from_a_reference_server() {
    one_client(&[100 * MIB], Implementation::Reference, Implementation::Sow);
}

/// Three clients of `sow` and two reference clients at once. The server is much slower than the
/// clients, so that a client that starts late receives from the others too.
fn mixed_swarm(server: Implementation, spelling: &str) {
    let (network, shared) = (TestNetwork::new(6), SharedFile::file(10 * MIB));
    let slow = if server == Implementation::Sow { "--up-limit 3MB/s" } else { "--rate 3e6" };
    let _server = serve(server, &network, SERVER, &shared, &format!("{spelling} {slow}"));
    let mut clients: Vec<_> = [
        Implementation::Sow,
        Implementation::Reference,
        Implementation::Sow,
        Implementation::Reference,
        Implementation::Sow,
    ]
    .into_iter()
    .zip(2..)
    .map(|(kind, host)| {
        let stay = if kind == Implementation::Sow { "" } else { "--linger 60" };
        let out = shared.out(&format!("copy{host}"));
        (kind, fetch(kind, &network, host, SERVER, &out, &format!("{spelling} {stay}")), out)
    })
    .collect();
    let server = server_name(&network);
    let (mut to_sow, mut to_reference) = (0, 0);
    for (kind, client, out) in &mut clients {
        let complete = client.wait_event("complete");
        shared.assert_copied_to(out);
        match kind {
            Implementation::Sow => to_sow += sow::bytes_from_others(&complete, &server),
            Implementation::Reference => {
                assert_eq!(complete["check"], format!("CHECK {}", shared.md5()), "{complete}");
                to_reference += reference::count_from_others(&complete, &[&server]);
            }
        }
    }
    assert!(to_sow > 0, "clients of sow received nothing from other clients");
    assert!(to_reference > 0, "reference clients received nothing from other clients");
}

#[test]
fn a_mixed_swarm_around_a_sow_server() {
    SPELLINGS.into_iter().for_each(|spelling| mixed_swarm(Implementation::Sow, spelling));
}

#[test]
fn a_mixed_swarm_around_a_reference_server() {
    SPELLINGS.into_iter().for_each(|spelling| mixed_swarm(Implementation::Reference, spelling));
}

/// A list of all 512 chunks is far longer than 1,024 bytes. Such a list ends the reading thread of
/// the original program.
#[test]
fn the_original_program_understands_the_lists_of_a_client_with_many_chunks() {
    let (network, shared) = (TestNetwork::new(3), SharedFile::file(2 * MIB));
    let _server = serve(
        Implementation::Reference,
        &network,
        SERVER,
        &shared,
        "original --chunk-size 4096 --rate 3e5",
    );
    let (first, second) = (shared.out("sow"), shared.out("reference"));
    let mut sow = fetch(Implementation::Sow, &network, 2, SERVER, &first, "original");
    sow.wait_for("300 chunks", |lines| {
        progress(lines).any(|bytes| bytes > 300 * 4096).then_some(())
    });
    let mut reference = fetch(Implementation::Reference, &network, 3, SERVER, &second, "original");
    let complete = reference.wait_event("complete");
    sow.wait_event("complete");
    shared.assert_copied_to(&first);
    shared.assert_copied_to(&second);
    let name = format!("{}:{CLIENT_PORT}", network.address(2));
    // After one list that it cannot read, the reference client requests nothing more from sow.
    assert!(complete["from"][&name].as_u64() > Some(50), "too little came from sow: {complete}");
}

/// The first client learns the address of the second from its connection, and connects too.
#[test]
fn a_client_that_starts_late_is_connected_in_both_directions() {
    let (network, shared) = (TestNetwork::new(3), SharedFile::file(4 * MIB));
    let names = [2, 3].map(|host| format!("{}:{CLIENT_PORT}", network.address(host)));
    for reference_first in [false, true] {
        // Slow enough that the second client starts long before the first is complete.
        let _server =
            serve(Implementation::Sow, &network, SERVER, &shared, "documented --up-limit 500KB/s");
        let folder = format!("reference_first_{reference_first}");
        let (to_sow, to_reference) =
            (shared.out(&format!("{folder}_sow")), shared.out(&format!("{folder}_reference")));
        let sow = || fetch(Implementation::Sow, &network, 2, SERVER, &to_sow, "documented");
        let reference = || {
            fetch(
                Implementation::Reference,
                &network,
                3,
                SERVER,
                &to_reference,
                "documented --linger 60",
            )
        };
        let (mut sow, mut reference) = if reference_first {
            let reference = reference();
            (sow(), reference)
        } else {
            let mut sow = sow();
            sow.wait_event("ready");
            (sow, reference())
        };
        reference.wait_for("the connection of sow", |lines| {
            lines
                .iter()
                .any(|line| line.contains("connected") && line.contains(&names[0]))
                .then_some(())
        });
        let complete = reference.wait_event("complete");
        sow.wait_event("complete");
        shared.assert_copied_to(&to_sow);
        shared.assert_copied_to(&to_reference);
        assert!(
            complete["from"][&names[0]].as_u64() > Some(0),
            "the reference client received nothing from sow: {complete}"
        );
    }
}

#[test]
fn a_client_without_a_path_reports_the_md5() {
    let (network, shared) = (TestNetwork::new(2), SharedFile::file(10 * MIB));
    let _server = serve(Implementation::Reference, &network, SERVER, &shared, "documented");
    let line = format!("chunk client -s {} --no-seed", network.address(SERVER));
    let mut client = sow::start(&network, 2, &line);
    let md5 = shared.md5();
    client.wait_for("MD5", |lines| lines.iter().any(|line| line.contains(&md5)).then_some(()));
    client.wait_success();
}

/// The report of the original program proposes several servers as an extension.
#[test]
fn one_reachable_server_of_two_is_enough() {
    let (network, shared) = (TestNetwork::new(3), SharedFile::file(10 * MIB));
    let _server = serve(Implementation::Sow, &network, SERVER, &shared, "documented");
    let out = shared.out("copy");
    // Nothing listens on host 3.
    let line =
        format!("chunk client -s {} -s {} --no-seed", network.address(3), network.address(SERVER));
    sow::fetch(&network, 2, &line, &out).wait_success();
    shared.assert_copied_to(&out);
}

/// The original program damages the file in this case. `sow` rejects the second client, and the
/// first is not affected.
#[test]
fn two_clients_cannot_save_to_one_path() {
    let (network, shared) = (TestNetwork::new(2), SharedFile::file(2 * MIB));
    let _server =
        serve(Implementation::Sow, &network, SERVER, &shared, "documented --up-limit 400KB/s");
    let out = shared.out("copy");
    let mut first = fetch(Implementation::Sow, &network, 2, SERVER, &out, "documented --no-seed");
    first.wait_for("its first bytes", |lines| progress(lines).any(|bytes| bytes > 0).then_some(()));
    // The first cannot complete before the second has started.
    first.pause();
    let mut second = fetch(Implementation::Sow, &network, 2, SERVER, &out, "documented --no-seed");
    let status = second.wait_exit();
    assert!(status.code().is_some_and(|code| code != 0), "the second: {status}");
    first.resume();
    first.wait_success();
    shared.assert_copied_to(&out);
}
