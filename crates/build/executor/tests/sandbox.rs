//! Steps run for real, in namespaces of this process. Has its own `main`: the sandbox is this very program, and a
//! namespace is entered before there are threads.

mod support;

use support::{Suite, TestResult};

fn main() {
    executor::maybe_sandbox();
    let mut suite = Suite::enter();
    suite.test("a step runs and says hello", hello);
    suite.finish();
}

fn hello(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let (exit, out, err) = suite.run(&suite.shell(&root, "echo hello; echo oops >&2; id; cat /proc/self/status | grep -i cap; ls -la / /dev; cat /proc/mounts; exit 3"))?;
    println!("{out}\n{err}\n{exit:?}");
    assert_eq!((exit.code, err.as_str()), (Some(3), "oops\n"));
    Ok(())
}
