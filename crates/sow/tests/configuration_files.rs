//! Configuration files that `chunk` and `json-torrent` share with the original programs, with every
//! kind of fault: the error names the file, the entry and the valid values.

mod support;

use std::fs;

use support::run_in;

#[test]
fn a_configuration_that_cannot_be_used_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let ini = place.path().join("config.ini");
    let json = place.path().join("client_config.json");
    for (bytes, word) in [
        (
            &b"[Server]\nport = 99999\n"[..],
            "config.ini: [Server] port = 99999: expected a number from 0 to 65535",
        ),
        (b"[Client]\nserver_ip = 10.0.0.1;10.0.0.2\n", "[Client] server_ip = 10.0.0.1;10.0.0.2"),
        (b"[Server\n", "line 1"),
        (b"\xff\xfe[\0S\0", "not UTF-8 text"),
        (&[b'#'; 70_000], "config.ini has over 65536 bytes"),
    ] {
        fs::write(&ini, bytes).unwrap();
        for role in ["server", "client"] {
            run_in(place.path(), &["chunk", role]).expect(2).says(&[word]);
        }
        run_in(place.path(), &["p2p", "client", "-sp", "1", "--config", "config.ini"])
            .expect(2)
            .says(&[word]);
    }
    fs::write(&json, r#"{"file_header_size": 4}"#).unwrap();
    run_in(place.path(), &["json-torrent", "peer", "a.torrent"])
        .expect(2)
        .says(&["client_config.json", "8 bytes"]);
    for args in [&["chunk", "client"][..], &["json-torrent", "peer", "a.torrent"]] {
        let args = [args, &["--config", "/no/such/file"]].concat();
        run_in(place.path(), &args).expect(1).says(&["/no/such/file", "tip:"]);
    }
}
