//! What `Pool::stats` counts.

use std::time::Duration;

use watertight::{Pool, Stats};

fn ended(pool: Pool) -> Stats {
    pool.close();
    pool.join().unwrap();
    pool.stats()
}

#[watertight::test]
fn a_worker_that_replaces_one_that_died_is_counted() {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|x: i64| x, (1,)).unwrap(), 1);
    assert_eq!((pool.stats().restarted, pool.stats().crashed), (0, 0), "the first ones replace nobody");
    pool.apply(|| -> i64 { std::process::abort() }, ()).unwrap_err();
    assert_eq!(pool.apply(|x: i64| x, (2,)).unwrap(), 2);
    let stats = ended(pool);
    assert_eq!((stats.restarted, stats.crashed, stats.done, stats.failed), (1, 1, 2, 1));
}

#[watertight::test]
fn a_worker_that_the_pool_kills_has_not_crashed() {
    let pool = Pool::builder()
        .workers(1)
        .timeout(Duration::from_millis(500))
        .grace(Duration::from_millis(1))
        .start()
        .unwrap();
    let error = pool.apply(|| std::thread::sleep(Duration::from_secs(3600)), ()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let later = pool.apply_async(|x: i64| x, (1,)).unwrap();
    assert_eq!(later.get().unwrap(), 1);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.restarted), (0, 1));
}

#[watertight::test]
fn a_worker_that_leaves_after_a_panic_has_not_crashed() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(1).start().unwrap();
    assert!(pool.apply(|| -> i64 { panic!("oh") }, ()).unwrap_err().is_panic());
    assert_eq!(pool.apply(|x: i64| x, (1,)).unwrap(), 1);
    let stats = ended(pool);
    assert_eq!((stats.crashed, stats.done, stats.failed), (0, 1, 1));
    assert!(stats.restarted >= 1);
}

#[watertight::test]
fn every_task_is_counted_once() {
    let pool = Pool::builder().workers(3).attempts(2).backoff(Duration::ZERO).start().unwrap();
    let outcomes = pool.outcomes(|x: i64| if x % 10 == 0 { std::process::abort() } else { x }, 0..200);
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count() as u64;
    assert_eq!(failed, 20);
    let stats = ended(pool);
    assert_eq!((stats.done, stats.failed, stats.retried, stats.crashed), (180, 20, 20, 40));
    assert_eq!((stats.in_flight, stats.queued), (0, 0));
}

#[watertight::test]
fn a_pool_serves_one_submission_while_another_one_has_no_end() {
    let pool = Pool::new(2).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let endless = pool.imap_unordered(|x: i64| x, 0..);
            let mut outcomes = endless.take_while(|_| !done.load(std::sync::atomic::Ordering::Relaxed));
            assert!(outcomes.all(|outcome| outcome.is_ok()));
        });
        for _ in 0..20 {
            assert_eq!(pool.map(|x: i64| x + 1, 0..100).unwrap().len(), 100);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
