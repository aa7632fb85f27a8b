use std::{
    fs::{self, File},
    io::Read,
    time::Instant,
};

use rustix::fs::{CWD, FileType, Mode as Permissions, mknodat};
use underpass_core::stats::Store;

use super::*;

const PROMPT: Settings = Settings {
    flush_after: Duration::from_millis(1),
    flush_size: 64 * 1024,
    queue_limit: QUEUE_LIMIT,
    last_flush: LAST_FLUSH,
};

fn files(settings: Settings) -> (AccessLogFiles, Store) {
    let stats = Store::new(1);
    (AccessLogFiles::with_settings(&stats.scope(""), settings, false), stats)
}

fn count(stats: &Store, name: &str) -> u64 {
    stats.scope("filesystem").counter(name).value()
}

/// Waits for a file to have the content that is wanted.
fn wait_for(path: &Path, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let content = fs::read_to_string(path).unwrap_or_default();
        if content == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "the file has {content:?}, not {wanted:?}");
        thread::yield_now();
    }
}

#[test]
fn a_line_is_in_the_file_a_moment_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let (files, stats) = files(PROMPT);
    let log = files.open(&path).unwrap();
    log.write("one\n".into());
    wait_for(&path, "one\n");
    log.write("two\n".into());
    wait_for(&path, "one\ntwo\n");
    files.flush_all();
    assert_eq!(
        ["write_buffered", "write_completed", "write_failed"].map(|name| count(&stats, name)),
        [2, 2, 0]
    );
    assert_eq!(stats.scope("filesystem").gauge("write_total_buffered").value(), 0);
    assert!(count(&stats, "flushed_by_timer") >= 2);
}

#[test]
fn much_is_written_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let (files, stats) = files(Settings { flush_after: Duration::from_secs(3600), ..PROMPT });
    let log = files.open(&path).unwrap();
    let lines = "x".repeat(PROMPT.flush_size + 1);
    log.write(lines.clone());
    wait_for(&path, &lines);
    assert_eq!(count(&stats, "flushed_by_timer"), 0);
}

#[test]
fn lines_of_many_threads_stay_whole_and_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let (files, _stats) = files(Settings { flush_size: 100, ..PROMPT });
    thread::scope(|scope| {
        for worker in 0..4 {
            let log = files.open(&path).unwrap();
            scope.spawn(move || (0..500).for_each(|line| log.write(format!("{worker} {line}\n"))));
        }
    });
    files.flush_all();
    let content = fs::read_to_string(&path).unwrap();
    for worker in ["0", "1", "2", "3"] {
        let lines = content.lines().filter_map(|line| line.strip_prefix(worker)?.trim().parse::<u32>().ok());
        assert!(lines.eq(0..500), "worker {worker}");
    }
}

#[test]
fn what_is_queued_at_the_end_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let (files, _stats) = files(Settings { flush_after: Duration::from_secs(3600), ..PROMPT });
    files.open(&path).unwrap().write("last words\n".into());
    files.flush_all();
    assert_eq!(fs::read_to_string(&path).unwrap(), "last words\n");
}

#[test]
fn reopening_follows_a_rotated_file_and_lines_go_where_they_belong() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("a.log"), directory.path().join("a.log.1"));
    let (files, stats) = files(Settings { flush_after: Duration::from_secs(3600), ..PROMPT });
    let log = files.open(&path).unwrap();
    log.write("before\n".into());
    fs::rename(&path, &rotated).unwrap();
    files.reopen();
    wait_for(&rotated, "before\n");
    wait_for(&path, "");
    log.write("after\n".into());
    files.flush_all();
    assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "before\n");
    assert_eq!(count(&stats, "reopen_failed"), 0);
}

#[test]
fn a_file_that_cannot_be_reopened_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, moved) = (directory.path().join("logs"), directory.path().join("moved"));
    fs::create_dir(&folder).unwrap();
    let (files, stats) = files(PROMPT);
    let log = files.open(&folder.join("a.log")).unwrap();
    fs::rename(&folder, &moved).unwrap();
    files.reopen();
    log.write("still here\n".into());
    files.flush_all();
    assert_eq!(fs::read_to_string(moved.join("a.log")).unwrap(), "still here\n");
    assert_eq!(count(&stats, "reopen_failed"), 1);
}

#[test]
fn a_path_that_cannot_be_opened_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _stats) = files(PROMPT);
    let error = |path: &Path| files.open(path).err().unwrap().to_string();
    assert!(error(&directory.path().join("none/a.log")).starts_with("No such file or directory"));
    assert!(error(directory.path()).starts_with("Is a directory"));
}

#[test]
fn one_path_is_one_file_until_nobody_logs_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let (files, _stats) = files(PROMPT);
    let (one, two) = (files.open(&path).unwrap(), files.open(&path).unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    drop((one, two));
    files.flush_all();
    fs::remove_file(&path).unwrap();
    files.open(&path).unwrap().write("anew\n".into());
    files.flush_all();
    assert_eq!(fs::read_to_string(&path).unwrap(), "anew\n");
}

/// A pipe that nobody reads stands for a disk that hangs.
#[test]
fn a_file_that_hangs_costs_lines_but_blocks_no_worker() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Permissions::RUSR | Permissions::WUSR, 0).unwrap();
    // Opened for both, so that opening does not wait for a writer.
    let mut reader = File::options().read(true).write(true).open(&path).unwrap();
    let settings = Settings { queue_limit: 1024 * 1024, last_flush: Duration::from_millis(20), ..PROMPT };
    let (files, stats) = files(settings);
    let log = files.open(&path).unwrap();
    let line = format!("{}\n", "x".repeat(1023));
    // The pipe takes 64 KiB, the queue and its twin in the writer's hands 1 MiB each.
    (0..4096).for_each(|_| log.write(line.clone()));
    files.flush_all();
    let (queued, dropped) = (count(&stats, "write_buffered"), count(&stats, "write_dropped"));
    assert_eq!(queued + dropped, 4096);
    assert!(dropped >= 4096 - 2 * 1024 - 64, "{dropped} lines were dropped");
    let mut content = vec![0; usize::try_from(queued).unwrap() * line.len()];
    reader.read_exact(&mut content).unwrap();
    assert!(content.chunks(line.len()).all(|chunk| chunk == line.as_bytes()));
}
