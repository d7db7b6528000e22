//! How long something takes, in time of this thread's processor: another
//! program's work beside it counts little.

use rustix::time::{ClockId, clock_gettime};

/// Each measurement is the least of so many.
const BATCHES: usize = 25;
/// How long one of them lasts, in nanoseconds.
const BATCH: f64 = 4e6;

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The nanoseconds of one run.
pub(crate) fn once(run: impl FnOnce()) -> f64 {
    let start = now();
    run();
    now() - start
}

/// The nanoseconds of one of many runs.
pub(crate) fn each(mut run: impl FnMut()) -> f64 {
    let mut count = 1;
    while once(|| (0..count).for_each(|_| run())) < BATCH {
        count *= 2;
    }
    let batch = |_| once(|| (0..count).for_each(|_| run())) / f64::from(count);
    (0..BATCHES).map(batch).fold(f64::MAX, f64::min)
}
