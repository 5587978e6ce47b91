//! Many at once, on real threads, through several handles. No time has to pass in them.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use idempotent_runtime::{Acquired, FencingToken, Lease, Store, StoreError};
use tokio::{
    sync::{Barrier, Mutex},
    task::JoinSet,
};

use crate::{
    harness::{Clock, Harness},
    verdict::{Stop, Verdict, answered, ensure},
    world::{Ask, LONG, World, ask},
};

/// Through how many handles the tasks reach the backend.
const HANDLES: usize = 4;
/// For how long one task may find a key taken that is given back, or expires, at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` in this many tasks that begin together, spread over the handles, and gathers what
/// they found.
async fn together<H, T, F>(
    world: &World<H>,
    tasks: usize,
    work: impl Fn(usize, Arc<H::Store>) -> F,
) -> Verdict<Vec<T>>
where
    H: Harness,
    T: Send + 'static,
    F: Future<Output = Verdict<T>> + Send + 'static,
{
    let mut handles = vec![Arc::clone(&world.store)];
    while handles.len() < HANDLES.min(tasks) {
        handles.push(world.handle().await);
    }
    let start = Arc::new(Barrier::new(tasks));
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let work = work(task, Arc::clone(&handles[task % handles.len()]));
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            work.await
        });
    }
    let mut found = Vec::new();
    while let Some(ended) = running.join_next().await {
        found.push(ended.map_err(Stop::violation)??);
    }
    Ok(found)
}

/// Asks for each key in each task, each with an id of its own, and expects exactly one grant of each.
async fn one_is_granted<H: Harness>(world: &World<H>, keys: Vec<Ask>) -> Verdict<Vec<Lease>> {
    let (tasks, keys) = (world.capabilities.tasks, Arc::new(keys));
    let round = Arc::new(Barrier::new(tasks));
    let found = together(world, tasks, |_, store| {
        let (keys, round) = (Arc::clone(&keys), Arc::clone(&round));
        async move {
            let mut leases = Vec::new();
            let mut broken = None;
            for (n, ask) in keys.iter().enumerate() {
                // All at one key at once; now and then, or the barrier is what is measured.
                if n % 8 == 0 {
                    round.wait().await;
                }
                match ask.again().of(&*store).await {
                    Ok(Acquired::Granted(lease)) => leases.push((n, lease)),
                    Ok(Acquired::InFlight { .. }) => {}
                    other => broken = Some(format!("expected InFlight, not {other:?}")),
                }
            }
            match broken {
                Some(what) => Err(Stop::violation(what)),
                None => Ok(leases),
            }
        }
    });
    let mut granted: Vec<_> = found.await?.into_iter().flatten().collect();
    granted.sort_by_key(|(n, _)| *n);
    for n in 0..keys.len() {
        let times = granted.iter().filter(|(granted, _)| *granted == n).count();
        ensure!(times == 1, "of {tasks} at once {times} were granted key {n} of {}", keys.len());
    }
    Ok(granted.into_iter().map(|(_, lease)| lease).collect())
}

fn asks(count: usize) -> Vec<Ask> {
    (0..count).map(|_| ask()).collect()
}

pub(crate) async fn of_many_at_once_exactly_one_is_granted<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let leases = one_is_granted(world, asks(world.capabilities.keys)).await?;
    ensure!(leases.iter().all(|lease| lease.attempt == 1), "a new key has a second attempt");
    Ok(())
}

pub(crate) async fn of_many_at_once_exactly_one_takes_over<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let keys = asks(world.capabilities.keys.div_ceil(10));
    for ask in &keys {
        let lease = world.granted(*ask).await?;
        world.store.abandon(&lease).await?;
    }
    let leases = one_is_granted(world, keys).await?;
    ensure!(leases.iter().all(|lease| lease.attempt == 2), "a takeover is not the second attempt");
    Ok(())
}

pub(crate) async fn of_many_at_once_exactly_one_has_a_released_key<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let keys = asks(world.capabilities.keys.div_ceil(10));
    for ask in &keys {
        let lease = world.granted(*ask).await?;
        world.store.release(&lease, LONG).await?;
    }
    let leases = one_is_granted(world, keys).await?;
    ensure!(leases.iter().all(|lease| lease.attempt == 2), "a released key has not attempt 2");
    Ok(())
}

pub(crate) async fn of_many_at_once_exactly_one_has_a_freed_key<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let keys = asks(world.capabilities.keys.div_ceil(10));
    for ask in &keys {
        let lease = world.granted(*ask).await?;
        world.store.free(&lease, LONG).await?;
    }
    let leases = one_is_granted(world, keys).await?;
    let anew = |lease: &Lease| lease.attempt == 1 && lease.first_token == lease.token;
    ensure!(leases.iter().all(anew), "a freed key does not begin anew");
    Ok(())
}

/// Half of them free the same lease, the others ask until one of them has the key.
pub(crate) async fn of_many_at_once_exactly_one_has_a_key_that_is_being_freed<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for asked in asks(world.capabilities.keys.div_ceil(20)) {
        let lease = world.granted(asked).await?;
        let taken = Arc::new(AtomicBool::new(false));
        let found = together(world, 8, |task, store| {
            let (lease, taken) = (lease.clone(), Arc::clone(&taken));
            let ask = if task % 4 == 1 { asked } else { asked.other_request() };
            async move {
                if task % 2 == 0 {
                    return match store.free(&lease, LONG).await {
                        Ok(()) => Ok(Some("freed")),
                        Err(StoreError::LeaseLost) => Ok(None),
                        Err(error) => Err(error.into()),
                    };
                }
                let began = Instant::now();
                loop {
                    // Before the key is asked for, so that each asks once more after the last free.
                    let late = taken.load(Ordering::SeqCst);
                    match ask.again().of(&*store).await? {
                        Acquired::Granted(next) => {
                            taken.store(true, Ordering::SeqCst);
                            ensure!(next.attempt == 1, "a freed key has attempt {}", next.attempt);
                            return Ok(Some("granted"));
                        }
                        Acquired::InFlight { .. } | Acquired::FingerprintMismatch if late => {
                            return Ok(None);
                        }
                        Acquired::InFlight { .. } | Acquired::FingerprintMismatch => {}
                        other => return Err(Stop::violation(format_args!("unexpected {other:?}"))),
                    }
                    let waited = began.elapsed();
                    ensure!(waited < PATIENCE, "a freed key is taken for {waited:?}");
                    tokio::task::yield_now().await;
                }
            }
        });
        let found = found.await?;
        for what in ["freed", "granted"] {
            let times = found.iter().flatten().filter(|found| **found == what).count();
            ensure!(times == 1, "{times} of 4 at once are told that the key is {what}");
        }
        let state = world.seen(&asked.key).await?.state;
        ensure!(state == "leased", "a freed key that was granted since is {state}");
    }
    Ok(())
}

pub(crate) async fn a_free_that_races_a_takeover_has_one_winner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let late = world.granted(ask).await?;
        world.store.abandon(&late).await?;
        let found = together(world, 8, |task, store| {
            let late = late.clone();
            async move {
                // Some of each, or the last to come, who begins, would always be of one kind.
                if task % 2 == 1 {
                    return match store.free(&late, LONG).await {
                        Ok(()) => Ok((true, None)),
                        Err(StoreError::LeaseLost) => Ok((false, None)),
                        Err(error) => Err(error.into()),
                    };
                }
                match ask.again().of(&*store).await? {
                    Acquired::Granted(lease) => Ok((false, Some(lease.attempt))),
                    Acquired::InFlight { .. } => Ok((false, None)),
                    other => Err(Stop::violation(format_args!("unexpected {other:?}"))),
                }
            }
        });
        let found = found.await?;
        let freed = found.iter().filter(|(freed, _)| *freed).count();
        let attempts: Vec<_> = found.iter().filter_map(|(_, attempt)| *attempt).collect();
        let expected = if freed == 0 { 2 } else { 1 };
        ensure!(freed <= 1 && attempts == [expected], "freed {freed} times, granted {attempts:?}");
    }
    Ok(())
}

pub(crate) async fn the_same_lease_id_is_granted_to_all_who_repeat_it_at_once<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let found = together(world, 8, |_, store| async move {
            let answer = ask.of(&*store).await?;
            Ok(answered!(answer, Acquired::Granted(lease) => lease, "a repetition to be granted"))
        });
        let leases = found.await?;
        let same = |lease: &Lease| lease.token == leases[0].token && lease.attempt == 1;
        ensure!(leases.iter().all(same), "one lease id has several leases: {leases:?}");
    }
    Ok(())
}

pub(crate) async fn of_many_completions_at_once_exactly_one_is_recorded<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let lease = world.granted(ask).await?;
        let found = together(world, 8, |task, store| {
            let lease = lease.clone();
            async move {
                let record = ask.record(task.to_string());
                match store.complete(&lease, record.clone(), LONG).await {
                    Ok(()) => Ok(Some(record)),
                    Err(StoreError::LeaseLost) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        });
        let recorded: Vec<_> = found.await?.into_iter().flatten().collect();
        ensure!(recorded.len() == 1, "{} completions of one lease are Ok", recorded.len());
        let (replayed, _) = world.replayed(ask.again()).await?;
        ensure!(replayed == recorded[0], "another record is replayed than was Ok");
    }
    Ok(())
}

pub(crate) async fn of_two_requests_at_once_one_has_the_key<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let found = together(world, 8, |task, store| async move {
            let ask = if task % 2 == 0 { ask } else { ask.other_request() };
            Ok((ask.fingerprint, ask.again().of(&*store).await?))
        });
        let found = found.await?;
        let owner = found.iter().find(|(_, answer)| matches!(answer, Acquired::Granted(_)));
        let Some((whose, _)) = owner else {
            return Err(Stop::violation(format_args!("nobody was granted the key: {found:?}")));
        };
        let mut granted = 0;
        for (fingerprint, answer) in &found {
            match answer {
                Acquired::Granted(_) => granted += 1,
                Acquired::InFlight { .. } => {
                    ensure!(fingerprint == whose, "another request is in flight");
                }
                Acquired::FingerprintMismatch => {
                    ensure!(fingerprint != whose, "the owner's request is a mismatch");
                }
                other => return Err(Stop::violation(format_args!("unexpected {other:?}"))),
            }
        }
        ensure!(granted == 1, "{granted} of two requests at once were granted one key");
    }
    Ok(())
}

pub(crate) async fn of_many_values_at_once_a_step_keeps_one<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let lease = world.granted(ask).await?;
        let found = together(world, 8, |task, store| {
            let lease = lease.clone();
            async move {
                let value = task.to_string();
                match store.save_step(&lease, "charge", value.clone().into()).await {
                    Ok(()) => Ok(Some(value)),
                    Err(StoreError::StepConflict { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        });
        let saved: Vec<_> = found.await?.into_iter().flatten().collect();
        ensure!(saved.len() == 1, "{} different values of one step are Ok", saved.len());
        let kept = world.granted(ask).await?.steps.get("charge").cloned();
        ensure!(kept.as_deref() == Some(saved[0].as_bytes()), "the step keeps another value");
    }
    Ok(())
}

pub(crate) async fn a_completion_that_races_a_takeover_has_one_winner<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let late = world.granted(ask).await?;
        world.store.abandon(&late).await?;
        let found = together(world, 8, |task, store| {
            let late = late.clone();
            async move {
                if task == 0 {
                    return match store.complete(&late, ask.record("late"), LONG).await {
                        Ok(()) => Ok("completed"),
                        Err(StoreError::LeaseLost) => Ok("lost"),
                        Err(error) => Err(error.into()),
                    };
                }
                match ask.again().of(&*store).await? {
                    Acquired::Granted(_) => Ok("granted"),
                    Acquired::InFlight { .. } => Ok("in flight"),
                    Acquired::Completed { .. } => Ok("replayed"),
                    other => Err(Stop::violation(format_args!("unexpected {other:?}"))),
                }
            }
        });
        let found = found.await?;
        let count = |what| found.iter().filter(|found| **found == what).count();
        match count("completed") {
            1 => ensure!(count("replayed") == 7, "completed, and the others: {found:?}"),
            _ => ensure!(
                count("granted") == 1 && count("in flight") == 6,
                "taken over, and the others: {found:?}"
            ),
        }
    }
    Ok(())
}

pub(crate) async fn a_forced_forget_that_races_a_completion_leaves_nothing<H: Harness>(
    world: &World<H>,
) -> Verdict {
    for ask in asks(world.capabilities.keys.div_ceil(20)) {
        let lease = world.granted(ask).await?;
        let found = together(world, 2, |task, store| {
            let lease = lease.clone();
            async move {
                if task == 0 {
                    ensure!(store.forget(&ask.key, true).await?, "forget found nothing");
                    return Ok(());
                }
                match store.complete(&lease, ask.record("42"), LONG).await {
                    Ok(()) | Err(StoreError::LeaseLost) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        });
        found.await?;
        let seen = world.seen(&ask.key).await?;
        ensure!(seen.state == "absent", "a forgotten key is {}", seen.state);
    }
    Ok(())
}

pub(crate) async fn a_purge_that_races_claims_takes_nothing_alive<H: Harness>(
    world: &World<H>,
) -> Verdict {
    const WORKERS: usize = 4;
    let (moment, rounds) = (Duration::from_millis(1), world.capabilities.keys.div_ceil(20));
    let left = Arc::new(AtomicUsize::new(WORKERS));
    let found = together(world, WORKERS + 2, |task, store| {
        let left = Arc::clone(&left);
        async move {
            if task >= WORKERS {
                while left.load(Ordering::SeqCst) > 0 {
                    store.purge_expired(50).await?;
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            let _ended = Ended(left);
            for round in 0..rounds {
                claims_beside_a_purge::<H>(&store, round, moment).await?;
            }
            Ok(())
        }
    });
    found.await?;
    Ok(())
}

/// Leaves what expires at once, and claims it anew while a purge takes what it has seen expire: what
/// is written under a key since is none of its business.
async fn claims_beside_a_purge<H: Harness>(
    store: &H::Store,
    round: usize,
    moment: Duration,
) -> Verdict {
    let doomed = asks(16);
    for ask in &doomed {
        let answer = ask.lease_for(moment).remembered_for(moment).of(store).await?;
        let lease = answered!(answer, Acquired::Granted(lease) => lease, "a lease");
        let ended = match round % 3 {
            0 => store.complete(&lease, ask.record("42"), moment).await,
            1 => store.release(&lease, moment).await,
            _ => Ok(()),
        };
        match ended {
            // It may have expired, and been purged, by now.
            Ok(()) | Err(StoreError::LeaseLost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (mut reborn, patience) = (Vec::new(), Instant::now());
    for ask in doomed {
        let next = ask.again().other_request();
        while H::CLOCK != Clock::Manual && patience.elapsed() < PATIENCE {
            if let Acquired::Granted(lease) = next.of(store).await? {
                match round % 2 {
                    0 => store.complete(&lease, next.record("anew"), LONG).await?,
                    _ => store.release(&lease, LONG).await?,
                }
                reborn.push(next.again());
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    tokio::task::yield_now().await;
    for ask in reborn {
        match ask.of(store).await? {
            Acquired::Completed { .. } => {}
            Acquired::Granted(lease) if lease.attempt == 2 => {}
            other => {
                let what = format_args!("a purge took what came after the expired: {other:?}");
                return Err(Stop::violation(what));
            }
        }
    }
    Ok(())
}

/// Counts a worker out, also when it fails.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) async fn a_contended_key_has_one_owner_at_a_time<H: Harness>(
    world: &World<H>,
) -> Verdict {
    let ask = ask();
    let owned = Arc::new(AtomicBool::new(false));
    let tokens = Arc::new(Mutex::new(Vec::<FencingToken>::new()));
    let left = Arc::new(AtomicUsize::new(world.capabilities.keys));
    let found = together(world, world.capabilities.tasks.min(16), |_, store| {
        let (owned, tokens, left) = (Arc::clone(&owned), Arc::clone(&tokens), Arc::clone(&left));
        async move {
            let mut began = Instant::now();
            while left.load(Ordering::Relaxed) > 0 {
                let lease = match ask.again().of(&*store).await? {
                    Acquired::Granted(lease) => lease,
                    Acquired::InFlight { .. } => {
                        let waited = began.elapsed();
                        ensure!(waited < PATIENCE, "a key given back is in flight for {waited:?}");
                        tokio::task::yield_now().await;
                        continue;
                    }
                    other => return Err(Stop::violation(format_args!("unexpected {other:?}"))),
                };
                began = Instant::now();
                ensure!(!owned.swap(true, Ordering::SeqCst), "a key has two owners at once");
                tokens.lock().await.push(lease.token);
                let last = left.fetch_sub(1, Ordering::Relaxed);
                owned.store(false, Ordering::SeqCst);
                match last % 4 {
                    0 => store.abandon(&lease).await?,
                    1 => store.release(&lease, LONG).await?,
                    2 => store.free(&lease, LONG).await?,
                    _ => drop(store.forget(&ask.key, true).await?),
                }
                if last <= 1 {
                    left.store(0, Ordering::Relaxed);
                    break;
                }
            }
            Ok(())
        }
    });
    found.await?;
    let tokens = tokens.lock().await;
    ensure!(tokens.is_sorted_by(|one, two| one < two), "tokens of one key do not grow");
    Ok(())
}
