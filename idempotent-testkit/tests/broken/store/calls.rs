//! The calls of the store.

use std::time::Duration;

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, Lease, LeaseId, OperationName, Record,
    StorageKey, Store, StoreError,
};
use idempotent_testkit::Garbage;
use tokio::task::yield_now;

use super::Broken;
use crate::{
    codec::kept_record,
    flaw::{Call, Flaw},
    row::{NEVER, Phase, Row},
};

impl Store for Broken {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        let _whole = self.whole().await;
        let key = self.key(request.key);
        let cached = self.cache.lock().unwrap().get(&key).cloned();
        if let Some(record) = cached
            && record.fingerprint() == request.fingerprint
        {
            return Ok(Acquired::Completed { record, expires_in: Duration::from_hours(1) });
        }
        let seen = self.read(&key);
        let racy = self.is_racy(seen.as_ref());
        if racy {
            yield_now().await;
        }
        if self.is(Flaw::CountsBeforeItGrants) && seen.is_none() {
            // An attempt is counted in one write and leased in another.
            let (_, row) = self.decide(None, &request, self.now())?;
            let lapsed = Phase::Released { forgotten_at: NEVER };
            self.put(key, Row { phase: lapsed, id: LeaseId::random(), ..row.unwrap() });
            yield_now().await;
            self.backend.rows().remove(&key);
        }
        let now = self.now();
        let mut rows = self.backend.rows();
        let row = if racy { seen } else { self.find(&rows, &key, now) };
        let began_anew = row.is_none();
        let (answer, mut written) = self.decide(self.readable(row)?, &request, now)?;
        if let (true, Some(written), Some(dead)) = (began_anew, &mut written, rows.get(&key)) {
            match self.flaw {
                Flaw::StepsOutliveTheirOperation => written.steps.clone_from(&dead.steps),
                Flaw::FirstTokensOutliveTheirLife => written.first_token = dead.first_token,
                _ => {}
            }
        }
        if let Some(row) = written {
            rows.insert(key, row);
        }
        drop(rows);
        if let (Acquired::Completed { record, .. }, Flaw::CachesForEver) = (&answer, self.flaw) {
            self.cache.lock().unwrap().insert(key, record.clone());
        }
        Ok(answer)
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::Complete, lease)?;
        if let Phase::Leased { given_up: true, .. } = row.phase
            && self.is(Flaw::LosesTheGivenUp)
        {
            return Err(StoreError::LeaseLost);
        }
        if self.is(Flaw::ChecksThenCompletes) {
            yield_now().await;
        }
        if self.is(Flaw::CompletesInTwoWrites) {
            self.backend.rows().remove(&key);
            yield_now().await;
        }
        let Some(record) = kept_record(self.flaw, &record) else { return Ok(()) };
        let until = self.after(self.now(), ttl);
        row.phase = Phase::Completed { record, until };
        if !self.is(Flaw::CompletionsKeepTheirOwnExpiry) {
            row.expires = NEVER;
        }
        self.put(key, row);
        Ok(())
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::Renew, lease)?;
        self.extend(&mut row, lease_for, Flaw::RenewsTheGivenUp, Flaw::RenewsNothing)?;
        if self.is(Flaw::RenewalsDrawATokenInTwoWrites) {
            let old = row.token;
            row.token = self.token(Some(old));
            self.put(key, row.clone());
            yield_now().await;
            row.token = old;
        }
        if self.is(Flaw::RenewalsLoseTheOperation) {
            row.operation = OperationName::default();
        }
        if !self.is(Flaw::RenewalsKeepTheirOwnExpiry) {
            row.expires = NEVER;
        }
        self.put(key, row);
        Ok(())
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::Release, lease)?;
        let forgotten_at = self.after(self.now(), retention);
        if self.is(Flaw::ReleasesInTwoWrites) {
            self.backend.rows().remove(&key);
            yield_now().await;
        }
        row.phase = Phase::Released { forgotten_at };
        if self.is(Flaw::LosesTheOperationOnRelease) {
            (row.operation, row.ttl) = (OperationName::default(), Duration::ZERO);
        }
        if !self.is(Flaw::ReleasesKeepTheirOwnExpiry) {
            row.expires = NEVER;
        }
        if self.is(Flaw::ReleasedKeysKeepTheirOwnExpiry) {
            row.expires = forgotten_at;
        }
        self.put(key, row);
        Ok(())
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::Free, lease)?;
        let forgotten_at = self.after(self.now(), retention);
        if self.is(Flaw::ChecksThenFrees) {
            yield_now().await;
        }
        if self.is(Flaw::FreesInTwoWrites) {
            self.put(key, Row { phase: Phase::Released { forgotten_at }, ..row.clone() });
            yield_now().await;
        }
        row.phase = match self.flaw {
            Flaw::FreesNothing => row.phase,
            Flaw::FreesAreReleases => Phase::Released { forgotten_at },
            _ => Phase::Freed { forgotten_at },
        };
        if !self.is(Flaw::FreesKeepTheirOwnExpiry) {
            row.expires = NEVER;
        }
        if self.is(Flaw::FreedKeysKeepTheirOwnExpiry) {
            row.expires = forgotten_at;
        }
        self.put(key, row);
        Ok(())
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::ReserveStep, lease)?;
        self.extend(&mut row, lease_for, Flaw::ReservesTheGivenUp, Flaw::ReservesNothing)?;
        match self.flaw {
            Flaw::ReservationsAreSteps => drop(row.steps.insert("reserved".into(), Bytes::new())),
            Flaw::ReservationsTakeASavedStep => drop(row.steps.pop_first()),
            _ => {}
        }
        row.expires = NEVER;
        self.put(key, row);
        Ok(())
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, mut row) = self.owned(Call::Abandon, lease)?;
        if self.is(Flaw::AbandonsNothing) {
            return Ok(());
        }
        let now = self.now();
        if let Phase::Leased { until, given_up, .. } = &mut row.phase {
            (*until, *given_up) = (now, true);
        }
        self.put(key, row);
        Ok(())
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        let _whole = self.whole().await;
        let (key, row) = self.owned(Call::SaveStep, lease)?;
        if self.is(Flaw::ChecksThenSavesAStep) {
            yield_now().await;
        }
        let mut rows = self.backend.rows();
        let mut row = match self.flaw {
            Flaw::ChecksThenSavesAStep | Flaw::NoOwner(_) => row,
            _ => rows.get(&key).cloned().unwrap_or(row),
        };
        let name =
            if self.is(Flaw::FoldsStepNames) { name.trim().to_lowercase() } else { name.into() };
        match row.steps.get(&name) {
            Some(saved) if *saved == value && !self.is(Flaw::AnEqualStepIsAConflict) => {
                return Ok(());
            }
            Some(_) if !self.is(Flaw::OverwritesSteps) => {
                return Err(StoreError::StepConflict { name: name.into() });
            }
            _ => {}
        }
        if name == "attempt" && self.is(Flaw::StepsAreFields) {
            row.attempt = 7;
        }
        if self.is(Flaw::SharesSteps) {
            self.backend.steps_of_all.lock().unwrap().insert(name.clone(), value.clone());
        }
        if let (Phase::Leased { until, .. }, Flaw::StepsExtendTheLease) =
            (&mut row.phase, self.flaw)
        {
            *until += Duration::from_secs(1);
        }
        row.steps.insert(name, value);
        rows.insert(key, row);
        Ok(())
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        let _whole = self.whole().await;
        let (bytes, now) = (self.key(key), self.now());
        let Some(mut row) = self.readable(self.read(&bytes))? else {
            if self.is(Flaw::LookingCreates) {
                let print = Fingerprint::of(&"the request");
                let request = AcquireRequest::new(key, &print, LeaseId::random(), Duration::ZERO);
                let (_, row) = self.decide(None, &request, now)?;
                self.put(bytes, row.unwrap());
            }
            return Ok(KeyState::Absent);
        };
        let state = row.state(now, self.flaw);
        match (&mut row.phase, self.flaw) {
            (Phase::Leased { until, .. }, Flaw::LookingExtends) => {
                *until += until.saturating_sub(now);
                self.put(bytes, row);
            }
            (Phase::Leased { given_up, until, .. }, Flaw::LookingGivesUp) if now >= *until => {
                *given_up = true;
                self.put(bytes, row);
            }
            _ => {}
        }
        Ok(state)
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        let _whole = self.whole().await;
        let (bytes, now) = (self.key(key), self.now());
        let row = match self.flaw {
            Flaw::ForgetsTheExpired => self.backend.rows().get(&bytes).cloned(),
            _ => self.read(&bytes),
        };
        let known = |row: &Row| match row.phase {
            Phase::Freed { .. } => self.is(Flaw::ForgetsTheFreed),
            _ => true,
        };
        let Some(row) = row.filter(known) else { return Ok(self.is(Flaw::AlwaysForgets)) };
        if row.garbage.is_some() && self.is(Flaw::KeepsGarbage) {
            return Err(StoreError::corrupt("garbage"));
        }
        let stuck = match &row.phase {
            Phase::Leased { until, .. } if now < *until => {
                !force && !self.is(Flaw::ForgetsTheLiving) || self.is(Flaw::NeverForgetsALease)
            }
            Phase::Leased { .. } => !force && self.is(Flaw::NeverForgetsALease),
            Phase::Released { .. } | Phase::Freed { .. } | Phase::Completed { .. } => false,
        };
        if stuck {
            return Err(StoreError::StillLeased);
        }
        match self.flaw {
            Flaw::ForgetsTheStateButNotTheKey => {
                let mut row = row;
                row.phase = Phase::Released { forgotten_at: NEVER };
                self.put(bytes, row);
            }
            Flaw::ForgetsEverything => self.backend.rows().clear(),
            Flaw::ForgetsInTwoWrites => {
                let half = Row { garbage: Some(Garbage::State), ..row };
                self.put(bytes, half);
                yield_now().await;
                self.backend.rows().remove(&bytes);
            }
            _ => drop(self.backend.rows().remove(&bytes)),
        }
        Ok(true)
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        let _whole = self.whole().await;
        let now = self.now();
        let limit = if self.is(Flaw::PurgesWithoutLimit) { usize::MAX } else { limit };
        let gone = |row: &Row| match (&row.phase, self.flaw) {
            (Phase::Leased { .. }, Flaw::PurgesLeases) => true,
            (Phase::Leased { until, .. }, Flaw::PurgesTheLapsed) => now >= *until,
            (Phase::Released { .. }, Flaw::PurgesTheReleased) => true,
            (Phase::Freed { .. }, Flaw::PurgesTheFreed) => true,
            (Phase::Freed { .. }, Flaw::PurgesLeaveTheFreed) => false,
            _ => !self.is_alive(row, now),
        };
        let doomed: Vec<_> = {
            let mut rows = self.backend.rows();
            if self.is(Flaw::PurgesAllWhenItMeetsGarbage)
                && rows.values().any(|row| row.garbage.is_some())
            {
                rows.clear();
            }
            rows.iter().filter(|(_, row)| gone(row)).map(|(key, _)| *key).take(limit).collect()
        };
        if self.is(Flaw::LooksThenPurges) {
            // As long as it takes until somebody has one of them again.
            let reborn = |key| self.backend.rows().get(key).is_some_and(|row| !gone(row));
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(100) && !doomed.iter().any(&reborn) {
                if doomed.is_empty() {
                    break;
                }
                yield_now().await;
            }
        }
        let mut rows = self.backend.rows();
        for key in &doomed {
            rows.remove(key);
        }
        Ok(match self.flaw {
            Flaw::CountsNoPurge => 0,
            _ => doomed.len(),
        })
    }

    fn recall(&self, key: &StorageKey) -> Option<Record> {
        if let Some(record) = self.cache.lock().unwrap().get(key.as_bytes()) {
            return Some(record.clone());
        }
        let row = match self.flaw {
            Flaw::RecallsTheDead => self.backend.rows().get(key.as_bytes()).cloned(),
            _ => self.read(&self.key(key)),
        };
        match row.filter(|row| row.garbage.is_none())?.phase {
            Phase::Completed { record, .. } => Some(record),
            _ => None,
        }
    }
}
