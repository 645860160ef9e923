use super::row::{self, GENESIS};
use super::*;
use std::fs;

fn certificate(serial: u64) -> Certificate {
    Certificate {
        issued: 1000,
        requester: "spiffe://0a.sextant.internal/service/supervisor".to_owned(),
        profile: "PROFILE_MESH".to_owned(),
        serial: format!("{serial:032x}"),
        subject: "CN=service/supervisor".to_owned(),
        sans: vec!["URI:spiffe://0a.sextant.internal/service/supervisor".to_owned()],
        not_before: 970,
        not_after: 1000 + i64::try_from(serial).unwrap(),
        fingerprint: format!("{serial:064x}"),
    }
}

async fn collect(log: &IssuedLog) -> Vec<(u64, Certificate)> {
    let mut rows = log.rows(|_| true);
    let mut all = Vec::new();
    while let Some(row) = rows.recv().await {
        all.push(row.unwrap());
    }
    all
}

/// A log of `count` rows, each synced before the next.
async fn filled(state: &Path, count: u64) -> Vec<u8> {
    let log = IssuedLog::open(state).unwrap();
    for serial in 1..=count {
        assert_eq!(log.append(certificate(serial)).await.unwrap(), serial);
    }
    fs::read(state.join(FILE)).unwrap()
}

#[tokio::test]
async fn rows_come_back_in_order_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    filled(state.path(), 5).await;
    let log = IssuedLog::open(state.path()).unwrap();
    assert_eq!(log.append(certificate(6)).await.unwrap(), 6);
    let expected: Vec<_> = (1..=6)
        .map(|serial| (serial, certificate(serial)))
        .collect();
    assert_eq!(collect(&log).await, expected);
}

#[tokio::test]
async fn rows_are_filtered_while_they_are_read() {
    let state = tempfile::tempdir().unwrap();
    filled(state.path(), 5).await;
    let log = IssuedLog::open(state.path()).unwrap();
    let mut rows = log.rows(|certificate| certificate.not_after > 1003);
    assert_eq!(rows.recv().await.unwrap().unwrap().0, 4);
    assert_eq!(rows.recv().await.unwrap().unwrap().0, 5);
    assert!(rows.recv().await.is_none());
}

#[tokio::test]
async fn concurrent_rows_share_syncs_and_none_is_lost() {
    let state = tempfile::tempdir().unwrap();
    let log = IssuedLog::open(state.path()).unwrap();
    let appends: Vec<_> = (0..500)
        .map(|serial| {
            let log = log.clone();
            tokio::spawn(async move { log.append(certificate(serial)).await.unwrap() })
        })
        .collect();
    let mut sequences = Vec::new();
    for append in appends {
        sequences.push(append.await.unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=500).collect::<Vec<_>>());
    assert_eq!(collect(&log).await.len(), 500);
    drop(log);
    assert_eq!(
        collect(&IssuedLog::open(state.path()).unwrap()).await.len(),
        500
    );
}

#[tokio::test]
async fn a_tail_torn_anywhere_is_cut_off_and_the_log_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let whole = filled(state.path(), 3).await;
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for cut in last..whole.len() {
        fs::write(state.path().join(FILE), &whole[..cut]).unwrap();
        let log = IssuedLog::open(state.path()).unwrap();
        assert_eq!(collect(&log).await.len(), 2, "cut at {cut}");
        assert_eq!(log.append(certificate(9)).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_tail_of_zeros_or_rubbish_is_cut_off() {
    let state = tempfile::tempdir().unwrap();
    let whole = filled(state.path(), 2).await;
    let long = vec![b'x'; 3 * row::MAX_LINE];
    for rubbish in [&[0u8; 4096][..], b"rubbish\n", b"\n\n", &long] {
        fs::write(state.path().join(FILE), [&whole, rubbish].concat()).unwrap();
        assert_eq!(
            collect(&IssuedLog::open(state.path()).unwrap()).await.len(),
            2
        );
        assert_eq!(fs::read(state.path().join(FILE)).unwrap(), whole);
    }
}

#[tokio::test]
async fn every_damaged_byte_before_an_acknowledged_row_is_an_error() {
    let state = tempfile::tempdir().unwrap();
    let whole = filled(state.path(), 3).await;
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    let path = state.path().join(FILE);
    for at in (0..last).step_by(7).chain([last - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        // When the damage joins the last line to the one before, no whole row is left that proves it.
        if at == last - 1 {
            assert_eq!(
                collect(&IssuedLog::open(state.path()).unwrap()).await.len(),
                1
            );
            continue;
        }
        let error = IssuedLog::open(state.path()).unwrap_err();
        let line = 1 + whole[..at].iter().filter(|b| **b == b'\n').count() as u64;
        assert!(
            matches!(&error, Error::LogCorrupt { line: found, .. } if *found == line),
            "byte {at}: {error}"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "a damaged log is left as it is"
        );
    }
}

#[tokio::test]
async fn a_removed_row_is_an_error() {
    let state = tempfile::tempdir().unwrap();
    let whole = filled(state.path(), 3).await;
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    fs::write(state.path().join(FILE), &whole[second..]).unwrap();
    let error = IssuedLog::open(state.path()).unwrap_err();
    assert!(
        matches!(error, Error::LogCorrupt { line: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_batch_torn_in_its_middle_was_never_acknowledged() {
    let state = tempfile::tempdir().unwrap();
    let mut bytes = filled(state.path(), 1).await;
    let (_, mut previous) = row::check(&bytes)
        .map(|(j, h)| (j.len(), h.to_owned()))
        .unwrap();
    let good = bytes.len();
    let mut starts = Vec::new();
    for sequence in 2..=4 {
        starts.push(bytes.len());
        let row = Row {
            previous,
            sequence,
            durable: 1,
            certificate: certificate(sequence),
        };
        let (line, hash) = row::encode(&row).unwrap();
        bytes.extend_from_slice(&line);
        previous = hash;
    }
    bytes[starts[1]..starts[1] + 100].fill(0);
    fs::write(state.path().join(FILE), &bytes).unwrap();
    let log = IssuedLog::open(state.path()).unwrap();
    assert_eq!(collect(&log).await.len(), 2, "what is whole stays");
    assert!(good < bytes.len());
    assert_eq!(GENESIS.len(), 64);
}

#[tokio::test]
async fn a_disk_that_fails_issues_nothing_and_heals() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join(FILE);
    filled(state.path(), 1).await;
    let before = fs::read(&path).unwrap();
    // A descriptor that can't be written stands for a disk that fails.
    let file = fs::File::open(&path).unwrap();
    let tail = recover::recover(&file, &path).unwrap();
    let length = Arc::new(AtomicU64::new(tail.length));
    let writer = write::Writer::new(file, path.clone(), tail, length.clone());
    let (queue, appends) = mpsc::channel(8);
    let thread = std::thread::spawn(move || writer.run(appends));
    let log = IssuedLog {
        path: path.clone(),
        durable_length: length,
        queue,
    };
    let error = log.append(certificate(2)).await.unwrap_err();
    assert!(error.to_string().contains("nothing was issued"), "{error}");
    drop(log);
    thread.join().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        IssuedLog::open(state.path())
            .unwrap()
            .append(certificate(2))
            .await
            .unwrap(),
        2
    );
}
