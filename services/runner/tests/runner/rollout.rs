//! From configuration to configuration.

use std::{fs, sync::atomic::Ordering};

use sextant_testkit::eventually;

use crate::{DEADLINE, component, flags, processes, read, support::config, surroundings};

#[tokio::test]
async fn files_that_reload_are_replaced_under_the_running_component() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[("a.yaml", "one", false), ("b.yaml", "one", true)]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let flags = around.wanted.borrow().arguments.clone();
    around.wanted.send_replace(config(
        flags,
        &[("a.yaml", "one", false), ("b.yaml", "two", true)],
    ));
    eventually(DEADLINE, "the new file", || async {
        let found = read(&around, "config/b.yaml");
        if found == "two" { Ok(()) } else { Err(found) }
    })
    .await;
    assert_eq!(processes(&around), before);
    assert_eq!(around.asked.load(Ordering::SeqCst), 0);
    runner.stop().await;
}

#[tokio::test]
async fn a_restart_waits_for_its_turn_and_gives_it_back_when_ready() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[("a.yaml", "one", false), ("b.yaml", "one", true)]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let gate = around.folder.path().join("gate");
    let more = format!("--ready-file={}", gate.display());
    let flags = flags(around.folder.path(), &[&more]);
    around.wanted.send_replace(config(
        flags,
        &[("a.yaml", "two", false), ("b.yaml", "two", true)],
    ));
    // What reloads doesn't wait; what needs the restart does.
    eventually(
        DEADLINE,
        "the reloading file and a request for a turn",
        || async {
            let found = (
                read(&around, "config/b.yaml"),
                around.asked.load(Ordering::SeqCst),
            );
            if found == ("two".to_owned(), 1) {
                Ok(())
            } else {
                Err(found)
            }
        },
    )
    .await;
    assert_eq!(read(&around, "config/a.yaml"), "one");
    assert_eq!(processes(&around), before);

    around.turns.add_permits(1);
    let after = eventually(DEADLINE, "another process", || async {
        let found = processes(&around);
        let other = found.len() == 1 && found[0].0 != before[0].0;
        if other { Ok(found) } else { Err(found) }
    })
    .await;
    assert!(after[0].1.contains("--ready-file"), "{after:?}");
    assert_eq!(read(&around, "config/a.yaml"), "two");
    eventually(DEADLINE, "the failing check as the reason", || async {
        let waiting = runner.ctx.readiness.waiting();
        let found = waiting.iter().any(|one| one.reason.contains("file failed"));
        if found { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(around.turns.available_permits(), 0);
    fs::write(&gate, "").unwrap();
    eventually(DEADLINE, "the turn to come back", || async {
        let turns = around.turns.available_permits();
        if turns == 1 { Ok(()) } else { Err(turns) }
    })
    .await;
    runner.ready().await;
    runner.stop().await;
}

#[tokio::test]
async fn a_configuration_that_breaks_the_component_is_replaced_by_one_that_works() {
    let Some(program) = component() else { return };
    let around = surroundings(&["--fail"], &[]).await;
    let runner = around.run(&program);
    eventually(DEADLINE, "a crash as the reason", || async {
        let waiting = runner.ctx.readiness.waiting();
        let found = waiting
            .iter()
            .any(|one| one.reason.contains("ended with exit code 1"));
        if found { Ok(()) } else { Err(waiting) }
    })
    .await;
    // No turn is there, and none is needed: nothing runs that could be taken away.
    let flags = flags(around.folder.path(), &[]);
    around.wanted.send_replace(config(flags, &[]));
    runner.ready().await;
    runner.stop().await;
}

#[tokio::test]
async fn a_file_outside_of_the_folder_is_refused() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    let before = processes(&around);
    let flags = around.wanted.borrow().arguments.clone();
    around
        .wanted
        .send_replace(config(flags.clone(), &[("../x", "1", true)]));
    around
        .wanted
        .send_replace(config(flags, &[("good", "1", true)]));
    eventually(DEADLINE, "the good file", || async {
        let found = read(&around, "config/good");
        if found == "1" { Ok(()) } else { Err(found) }
    })
    .await;
    assert!(!around.run_folder().join("x").exists());
    assert_eq!(processes(&around), before);
    runner.stop().await;
}
