//! Pools among the programs.

use crate::Up;

#[test]
fn a_pool_takes_calls_until_it_is_stopped() {
    let mut up = Up::start("[pool.sums]\nsize = 1\n[program.nap]\ncommand = [\"sleep\", \"1000\"]\n");
    assert_eq!(up.run_when_up(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    let called = up.run(&["call", "sums", "factorial", "20"]);
    assert_eq!((called.code, called.stdout.as_str()), (Some(0), "\"2432902008176640000\"\n"), "{called:?}");
    let crashed = up.run(&["call", "sums", "fault", "segv"]);
    assert_eq!(crashed.code, Some(1));
    assert!(crashed.stderr.contains("SIGSEGV"), "{crashed:?}");
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).stdout, "\"120\"\n");
    assert_eq!(up.run(&["stop", "sums"]).code, Some(0));
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).code, Some(1));
    assert_eq!(up.run(&["restart", "sums"]).code, Some(0));
    assert_eq!(up.run(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}
