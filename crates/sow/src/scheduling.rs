//! How the kernel shares processors among our threads, for the one command to which that matters.

use rustix::process::{getpriority_process, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    unix::{set_thread_priority_and_policy, thread_native_id},
};

/// A priority that the library makes the usual niceness of; what it was is put back.
const USUAL: u8 = 48;

/// From now on this thread and those that it starts do not interrupt each other when something comes (`SCHED_BATCH`, sched(7)):
/// a thread that takes a sum, which nothing else can help, is to get on with it. On an idle processor it makes no difference.
pub(crate) fn in_batches() {
    let before = getpriority_process(None);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let Ok(usual) = USUAL.try_into().map(ThreadPriority::Crossplatform) else { return };
    // Where it is not allowed things are slower, and that is all.
    let _ = set_thread_priority_and_policy(thread_native_id(), usual, policy);
    if let Ok(niceness) = before {
        let _ = setpriority_process(None, niceness);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_set_and_the_niceness_stays() {
        let tried = std::thread::spawn(|| {
            let before = getpriority_process(None).unwrap();
            in_batches();
            let policy = thread_priority::unix::thread_schedule_policy().unwrap();
            (policy, before, getpriority_process(None).unwrap())
        });
        let (policy, before, after) = tried.join().unwrap();
        assert_eq!(policy, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch));
        assert_eq!(before, after);
    }
}
