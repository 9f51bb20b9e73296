use super::*;
use crate::table::tests::{definition, key};
use quorate_types::job::Driver;

fn spool(change: impl FnOnce(&mut Limits)) -> (tempfile::TempDir, Spool) {
    let data = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let spool = Spool::open(data.path(), Name::new("w1").unwrap(), &[], &limits).unwrap();
    (data, spool)
}

fn prepared(spool: &Spool, n: u32) -> PathBuf {
    spool.prepare(key(n), &definition(Driver::Process, None), &[]).unwrap();
    spool.path(&key(n))
}

#[test]
fn results_are_bounded_text() {
    let (_data, spool) = spool(|_| {});
    for (n, written, expected) in [
        (1, b"42\n".to_vec(), "42\n".to_owned()),
        (2, vec![b'x'; RESULT_BYTES_MAX + 1], "x".repeat(RESULT_BYTES_MAX)),
        // Each broken byte becomes three.
        (3, vec![0xff; RESULT_BYTES_MAX], "\u{fffd}".repeat(RESULT_BYTES_MAX / 3)),
        (4, Vec::new(), String::new()),
    ] {
        let folder = prepared(&spool, n);
        fs::write(folder.join(RESULT), written).unwrap();
        assert_eq!(spool.collect(key(n)).result, Some(expected));
    }
    prepared(&spool, 5);
    assert_eq!(spool.collect(key(5)).result, None);
    // A pipe would never end, and a folder can't be read.
    let folder = prepared(&spool, 6);
    nix::unistd::mkfifo(&folder.join(RESULT), nix::sys::stat::Mode::S_IRWXU).unwrap();
    nix::unistd::mkfifo(&folder.join("stdout"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(spool.collect(key(6)), Leftover::default());
}

#[test]
fn inputs_are_there_from_the_start_and_gone_at_the_end() {
    use quorate_types::TaskIndex;
    use quorate_types::inputs::{Input, JobInput};
    use quorate_types::status::{JobState, TaskState};
    let (data, spool) = spool(|_| {});
    spool.pass_on_folders(true);
    let named = |text: &str| Name::new(text).unwrap();
    let ended = |index, result: Option<&str>| {
        vec![Input { index: TaskIndex(index), state: TaskState::Succeeded, result: result.map(Arc::from) }]
    };
    let (mut shared, mut own) = (Inputs::default(), Inputs::default());
    shared.add_task(&named("b"), Some(ended(0, Some("a \"quote\"\n"))));
    shared.add_task(&named("c"), None);
    let tasks = [(named("main"), ended(0, None))].into();
    shared.jobs.insert(JobId(17), JobInput { state: JobState::Succeeded, tasks });
    own.add_task(&named("a"), Some(ended(3, Some(""))));
    let expected = concat!(
        r#"{"needs":{"a":[{"index":3,"state":"succeeded","result":""}],"#,
        r#""b":[{"index":0,"state":"succeeded","result":"a \"quote\"\n"}]},"#,
        r#""jobs":{"17":{"state":"succeeded","tasks":{"main":[{"index":0,"state":"succeeded","result":null}]}}},"#,
        r#""left_out":[{"task":"c","job":null,"why":"too_large"}]}"#
    );
    let parts = [Arc::new(shared), Arc::new(own)];
    let start = |spool: &Spool, index, parts: &[Arc<Inputs>]| {
        let key = AttemptKey { index: TaskIndex(index), ..key(1) };
        let spawn = spool.prepare(key, &definition(Driver::Process, None), parts).unwrap();
        for output in ["stdout", "stderr"] {
            fs::OpenOptions::new().append(true).create(true).open(spool.path(&key).join(output)).unwrap();
        }
        (key, spawn.env.into_iter().find(|(name, _)| name == "QUORATE_INPUTS").map(|(_, file)| file))
    };
    let (first, file) = start(&spool, 1, &parts);
    let file = PathBuf::from(file.unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(file.parent(), Some(spool.path(&first).as_path()));
    spool.collect(first);
    assert!(!file.exists());
    // The next attempt, in the folder of the first, needs nothing.
    let (second, file) = start(&spool, 2, &[]);
    assert_eq!((file, fs::read_dir(data.path().join(ATTEMPTS)).unwrap().count()), (None, 1));
    assert!(!spool.path(&second).join(INPUTS).exists());
}

#[test]
fn what_left_nothing_has_no_folder_and_what_is_discarded_is_gone() {
    let (_data, spool) = spool(|_| {});
    let folder = prepared(&spool, 1);
    spool.collect(key(1));
    assert!(!folder.exists() && spool.entry(&key(1)).unwrap().left_nothing());
    let folder = prepared(&spool, 2);
    let entry = spool.entry(&key(2)).unwrap();
    spool.discard(key(2));
    assert!(!folder.exists() && entry.has_ended() && spool.entry(&key(2)).is_none());
}

#[test]
fn a_folder_without_leftovers_serves_the_next_attempt_of_its_job() {
    use std::os::unix::fs::MetadataExt;
    let (data, spool) = spool(|_| {});
    spool.pass_on_folders(true);
    let of = |index| AttemptKey { index: quorate_types::TaskIndex(index), ..key(1) };
    let start = |key| {
        spool.prepare(key, &definition(Driver::Process, None), &[]).unwrap();
        for output in ["stdout", "stderr"] {
            fs::OpenOptions::new().append(true).create(true).open(spool.path(&key).join(output)).unwrap();
        }
        spool.path(&key)
    };
    let folders = || fs::read_dir(data.path().join(ATTEMPTS)).unwrap().count();
    let first = start(of(1));
    let inode = fs::metadata(&first).unwrap().ino();
    assert_eq!(spool.collect(of(1)), Leftover::default());
    let second = start(of(2));
    assert!(!first.exists() && spool.entry(&of(1)).unwrap().left_nothing());
    assert_eq!(fs::metadata(&second).unwrap().ino(), inode);
    fs::write(second.join("stdout"), "mine").unwrap();
    assert_eq!(spool.collect(of(2)).stdout_tail, b"mine");
    // What holds an output is nobody else's; one that somebody has removed is made anew.
    let third = start(of(3));
    assert!(second.join("stdout").exists());
    spool.collect(of(3));
    fs::remove_dir_all(&third).unwrap();
    assert!(start(of(4)).join("work").is_dir());
    spool.collect(of(4));
    // Another job gets none of it, and where it is no longer allowed nobody does.
    let other = start(key(2));
    assert_eq!(folders(), 3);
    spool.pass_on_folders(false);
    assert_eq!(folders(), 2);
    assert!(other.exists() && second.exists());
}

#[test]
fn files_in_the_working_folder_are_kept_and_count() {
    let (_data, spool) = spool(|limits| limits.spool_bytes = 1_500);
    for n in [1, 2] {
        let folder = prepared(&spool, n);
        fs::create_dir(folder.join("work/sub")).unwrap();
        fs::write(folder.join("work/sub/file"), [0; 1_000]).unwrap();
        spool.collect(key(n));
    }
    assert!(!spool.path(&key(1)).exists() && spool.entry(&key(1)).is_none());
    assert!(spool.path(&key(2)).join("work/sub/file").exists());
}

#[test]
fn folders_are_kept_for_a_time_and_a_number() {
    let (_data, spool) = spool(|limits| limits.spool_attempts = 2);
    for n in 1..=3 {
        fs::write(prepared(&spool, n).join("stdout"), "x").unwrap();
        assert_eq!(spool.collect(key(n)).stdout_tail, b"x");
    }
    let kept: Vec<_> = (1..=3).filter(|n| spool.path(&key(*n)).exists()).collect();
    assert_eq!(kept, [2, 3]);
    let (_data, spool) = self::spool(|limits| limits.spool_time = Duration::ZERO);
    fs::write(prepared(&spool, 1).join("stdout"), "x").unwrap();
    spool.collect(key(1));
    assert!(spool.entry(&key(1)).is_none());
}

#[test]
fn folders_go_however_deep_they_are_and_links_are_not_followed() {
    use nix::fcntl::{OFlag, open, openat};
    use nix::sys::stat::{Mode, mkdirat};
    const DEPTH: usize = 30_000;
    let (data, spool) = spool(|_| {});
    let elsewhere = data.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("kept"), "kept").unwrap();
    let folder = prepared(&spool, 1);
    let mut nested = open(&folder.join(WORK), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&nested, "d", Mode::S_IRWXU).unwrap();
        nested = openat(&nested, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    fs::create_dir_all(folder.join("work/a/b")).unwrap();
    fs::write(folder.join("work/a/b/file"), "x").unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join("work/link")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join("work/a/link")).unwrap();
    spool.discard(key(1));
    assert!(!folder.exists());
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    remove(&folder).unwrap();
    assert!(fs::symlink_metadata(&folder).is_err());
    assert_eq!(fs::read_to_string(elsewhere.join("kept")).unwrap(), "kept");
}

#[test]
fn what_can_not_be_removed_is_put_aside() {
    let chattr = |flag: &str, path: &Path| {
        let ended = std::process::Command::new("chattr").arg(flag).arg(path).output();
        ended.is_ok_and(|ended| ended.status.success())
    };
    let (data, spool) = spool(|_| {});
    let stuck = prepared(&spool, 1).join("work/stuck");
    fs::write(&stuck, "x").unwrap();
    if !chattr("+i", &stuck) {
        eprintln!("skipped: needs root and chattr");
        return;
    }
    let reopened = Spool::open(data.path(), Name::new("w1").unwrap(), &[], &Limits::default());
    // Folders in folders were moved up before the removal failed.
    let mut found = vec![data.path().to_owned()];
    while let Some(folder) = found.pop_if(|path| path.file_name() != stuck.file_name()) {
        found.extend(fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()));
    }
    let left = found.pop().unwrap();
    assert!(chattr("-i", &left));
    assert!(reopened.is_ok(), "{reopened:?}");
    assert!(left.starts_with(data.path().join("unremovable-1")), "{}", left.display());
    assert_eq!(fs::read_dir(data.path().join(ATTEMPTS)).unwrap().count(), 0);
}
