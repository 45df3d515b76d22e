//! What the port of `sow send` answers to browsers, curl and monitoring: the content itself, the
//! state as JSON, metrics, and nothing to pages of other sites.

mod support;

use std::{fs, io::Read, thread};

use support::{
    Origin, Running,
    http::{answer, get, request, send},
    noise, noise_file, sow, wait_until,
};

/// More than one part that is read at a time.
const LENGTH: usize = 3 << 20;

#[test]
fn the_content_is_downloaded_whole_and_in_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("größe & <b>.iso");
    let content = noise(LENGTH, 1);
    fs::write(&path, &content).unwrap();
    let origin = Origin::start(&path, &[]);
    let address = origin.address();
    let whole = get(address, "/gr%C3%B6%C3%9Fe%20%26%20%3Cb%3E.iso", &[]);
    assert_eq!((whole.status, whole.body == content), (200, true));
    assert_eq!(whole.header("content-length"), LENGTH.to_string());
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(
        whole.header("content-disposition"),
        "attachment; filename=\"gr__e & <b>.iso\"; \
         filename*=UTF-8''gr%C3%B6%C3%9Fe%20%26%20%3Cb%3E.iso"
    );
    assert!(whole.header("content-security-policy").contains("sandbox"), "{whole:?}");
    let status = get(address, "/status", &[]).json();
    let link = status["shares"][0]["content"].as_str().unwrap().to_owned();
    let hash = status["shares"][0]["info_hash"].as_str().unwrap().to_owned();
    assert_eq!(get(address, &link, &[]).body, content);
    assert_eq!(get(address, &format!("/{hash}"), &[]).body, content, "also under its info-hash");
    let etag = whole.header("etag").to_owned();
    let if_same = format!("If-Range: {etag}");
    for (headers, status, range, body) in [
        (&["Range: bytes=0-0"][..], 206, "bytes 0-0/3145728", &content[..1]),
        (&["Range: bytes=3000000-"], 206, "bytes 3000000-3145727/3145728", &content[3_000_000..]),
        (&["Range: bytes=-5"], 206, "bytes 3145723-3145727/3145728", &content[LENGTH - 5..]),
        (&["Range: bytes=1-2", &if_same], 206, "bytes 1-2/3145728", &content[1..3]),
        (&["Range: bytes=1-2", "If-Range: \"other\""], 200, "", &content[..]),
        (&["Range: bytes=9999999-"], 416, "bytes */3145728", &[]),
        (&[&format!("If-None-Match: {etag}")], 304, "", &[]),
        (&["If-None-Match: \"other\""], 200, "", &content[..]),
        (&["If-Match: \"other\""], 412, "", &[]),
    ] {
        let part = get(address, &link, headers);
        assert_eq!((part.status, part.header("content-range")), (status, range), "{headers:?}");
        assert!(part.body == body, "{headers:?}: {} bytes", part.body.len());
    }
    let several = get(address, &link, &["Range: bytes=-2, 5-6"]);
    let kind = several.header("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind);
    let part = |range: &str, bytes: &[u8]| {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {range}/3145728\r\n\r\n"
        );
        [head.as_bytes(), bytes].concat()
    };
    let expected = [
        part("3145726-3145727", &content[LENGTH - 2..]),
        part("5-6", &content[5..7]),
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ];
    assert!(several.status == 206 && several.body == expected.concat(), "{several:?}");
    assert_eq!(several.header("content-length"), several.body.len().to_string());
    let head = request(address, "HEAD", &link, &["Range: bytes=0-9"]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), LENGTH.to_string());
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(request(address, method, &link, &[]).status, 405, "{method}");
    }
}

#[test]
fn the_files_of_a_folder_are_listed_and_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("photos");
    fs::create_dir_all(shared.join("über <i>")).unwrap();
    fs::write(shared.join("über <i>/100%.txt"), b"hundred").unwrap();
    let origin = Origin::start(&shared, &[]);
    let address = origin.address();
    let to_folder = get(address, "/photos", &[]);
    assert_eq!((to_folder.status, to_folder.header("location")), (308, "./photos/"));
    let list = get(address, "/photos/", &[]).json();
    let names: Vec<&str> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"über <i>"), "{names:?}");
    let page = get(address, "/photos/", &["Accept: text/html"]).text();
    assert!(page.contains("href=\"./%C3%BCber%20%3Ci%3E/\">über &lt;i&gt;/"), "{page}");
    assert!(!page.contains("<i>"), "{page}");
    let file = get(address, "/photos/%C3%BCber%20%3Ci%3E/100%25.txt", &["Range: bytes=1-3"]);
    assert_eq!((file.status, file.text().as_str()), (206, "und"));
    let sub = get(address, "/photos/%C3%BCber%20%3Ci%3E/", &[]).json();
    assert_eq!(sub["entries"][0]["length"], 7);
    for path in
        ["/photos/../../etc/passwd", "/photos/%2e%2e/x", "/photos//", "/other/", "/photos/x"]
    {
        assert_eq!(get(address, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn names_of_other_answers_do_not_hide_content() {
    let folder = tempfile::tempdir().unwrap();
    let content = noise(1000, 2);
    for name in ["metrics", "a.torrent"] {
        let path = folder.path().join(name);
        fs::write(&path, &content).unwrap();
        let origin = Origin::start(&path, &[]);
        let status = get(origin.address(), "/status", &[]).json();
        let link = status["shares"][0]["content"].as_str().unwrap();
        assert!(get(origin.address(), link, &[]).body == content, "{name} at {link}");
    }
}

#[test]
fn nothing_is_told_to_pages_of_other_sites() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(folder.path(), "a.iso", 1000), &[]);
    let address = origin.address();
    let paths = ["/", "/status", "/metrics", "/healthz", "/-/events", "/-/page.js", "/a.iso"];
    for path in paths {
        let answer = get(address, path, &["Host: evil.example"]);
        assert_eq!(answer.status, 421, "{path}");
        assert!(!answer.text().contains("a.iso"), "{path}: {}", answer.text());
    }
    for headers in [
        &["Origin: http://evil.example"][..],
        &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
    ] {
        for path in ["/status", "/-/events", "/a.iso"] {
            assert_eq!(get(address, path, headers).status, 403, "{path} {headers:?}");
        }
    }
    for path in paths.iter().filter(|path| **path != "/-/events") {
        let answer = get(address, path, &["Accept: text/html"]);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    }
    let page = get(address, "/", &["Accept: text/html"]);
    assert!(page.header("content-security-policy").contains("script-src 'self';"), "{page:?}");
    assert!(page.text().contains("/-/page.js"));
    assert_eq!(get(address, "/", &[]).json()["shared"][0]["name"], "a.iso", "for programs");
}

#[test]
fn the_state_is_told_as_json_as_metrics_and_as_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 300_000);
    let origin = Origin::start(&path, &["--expect", "2"]);
    let address = origin.address();
    assert_eq!(get(address, "/healthz", &[]).text(), "ok\n");
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    support::run(["get", &origin.ticket, "-o", out, "--no-seed"]).expect(0);
    let mut status = serde_json::Value::Null;
    wait_until("the receiver is complete", || {
        status = get(address, "/status", &[]).json();
        status["shares"][0]["complete"] == 1
    });
    let share = &status["shares"][0];
    assert_eq!((&share["expected"], &share["verified"]), (&2.into(), &300_000.into()));
    assert_eq!((&share["length"], &share["state"]), (&300_000.into(), &"sharing".into()));
    let receiver = &share["receivers"][0];
    assert_eq!((&receiver["state"], &receiver["bytes"]), (&"complete".into(), &300_000.into()));
    let other = folder.path().join("other");
    fs::write(&other, "another file").unwrap();
    let differs = ["get", &origin.ticket, "-o", other.to_str().unwrap(), "--name", "<web>01"];
    support::run(differs).expect(8);
    wait_until("the failed receiver is known", || {
        status = get(address, "/status", &[]).json();
        status["shares"][0]["receivers"][1]["state"] == "failed"
    });
    let failed = &status["shares"][0]["receivers"][1];
    assert_eq!(failed["name"], "<web>01");
    assert!(failed["error"].as_str().unwrap().contains("exists"), "{failed}");
    let metrics = get(address, "/metrics", &[]);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "# TYPE sow_sent_bytes_total counter\n",
        "sow_sent_bytes_total{protocol=\"swarm\"} 300000\n",
        "sow_receivers{state=\"complete\"} 1\n",
        "sow_receivers{state=\"failed\"} 1\n",
        "sow_receivers_expected 2\n",
        "sow_content_bytes 300000\n",
    ] {
        assert!(metrics.text().contains(line), "{line} in {}", metrics.text());
    }
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let open = get(address, "/metrics", &[accept]);
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(
        open.text().ends_with("# EOF\n") && open.text().contains("# UNIT sow_sent_bytes bytes")
    );
    let mut stream = send(address, "GET", "/-/events", &[]);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains("event: update\n") {
        let count = stream.read(&mut buffer).expect("an update comes");
        assert!(count > 0, "the stream ended: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("content-type: text/event-stream\r\n"), "{text}");
    assert!(text.contains("event: state\ndata: {") && text.contains("\"complete\""), "{text}");
}

#[test]
fn a_port_answers_while_the_content_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let address = support::closed_address();
    let port = address.rsplit_once(':').unwrap().1;
    let big = noise_file(folder.path(), "big", 1 << 20);
    // A sparse file of zeros takes a while.
    fs::OpenOptions::new().write(true).open(&big).unwrap().set_len(40 << 30).unwrap();
    let running = Running::start(sow(["send", "--bind", "127.0.0.1", "--port", port]).arg(&big));
    wait_until("the port is open", || std::net::TcpStream::connect(&address).is_ok());
    let health = get(&address, "/healthz", &[]);
    assert_eq!((health.status, health.text().contains("hashed")), (503, true), "{health:?}");
    assert_eq!(get(&address, "/status", &[]).json()["shares"], serde_json::json!([]));
    assert_eq!(get(&address, "/", &["Accept: text/html"]).status, 200);
    drop(running);
}

#[test]
fn content_that_has_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 40 << 20);
    let origin = Origin::start(&path, &["--up-limit", "4MB/s"]);
    let address = origin.address().to_owned();
    let slow = thread::spawn({
        let address = address.clone();
        move || get(&address, "/a.iso", &[])
    });
    wait_until("the download begins", || {
        get(&address, "/status", &[]).json()["shares"][0]["http"]["downloads"] == 1
    });
    fs::write(&path, noise(40 << 20, 9)).unwrap();
    let mut refusal = None;
    wait_until("the change is noticed", || {
        let answer = get(&address, "/a.iso", &["Range: bytes=0-0"]);
        let is_lost = answer.status == 410;
        refusal = is_lost.then(|| (answer.text(), get(&address, "/healthz", &[]).status));
        is_lost
    });
    let (text, health) = refusal.unwrap();
    assert!(text.contains("a.iso") && text.contains("no longer shared"), "{text}");
    assert_eq!(health, 503);
    let cut = slow.join().unwrap();
    assert!(cut.body.len() < 40 << 20, "a download of it is cut off");
}

#[test]
fn a_file_that_changed_a_moment_ago_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 300_000);
    let origin = Origin::start(&path, &[]);
    fs::write(&path, noise(300_000, 9)).unwrap();
    let answer = get(origin.address(), "/a.iso", &[]);
    assert!(answer.status == 410 || answer.body.is_empty(), "{}", answer.status);
}

#[test]
fn downloads_are_bounded_and_under_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 8 << 20);
    let origin = Origin::start(&path, &["--up-limit", "2MB/s"]);
    let address = origin.address();
    let began = std::time::Instant::now();
    assert_eq!(get(address, "/a.iso", &["Range: bytes=0-3999999"]).body.len(), 4_000_000);
    let seconds = began.elapsed().as_secs_f64();
    assert!((1.5..6.0).contains(&seconds), "4 MB at 2 MB/s in {seconds} s");
    let downloads =
        || get(address, "/status", &[]).json()["shares"][0]["http"]["downloads"].clone();
    let mut open: Vec<_> = (0..48).map(|_| send(address, "GET", "/a.iso", &[])).collect();
    wait_until("the places of one network are taken", || downloads() == 48);
    open.extend((0..20).map(|_| send(address, "GET", "/a.iso", &[])));
    for refused in open.split_off(48) {
        let refused = answer(refused, "one too many");
        assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
    }
    assert_eq!(downloads(), 48);
    assert_eq!(request(address, "HEAD", "/a.iso", &[]).status, 200, "it takes no place");
    drop(open);
    wait_until("a place is free", || get(address, "/a.iso", &["Range: bytes=0-0"]).status == 206);
}
