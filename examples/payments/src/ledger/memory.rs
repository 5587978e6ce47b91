//! Payments in the memory of this process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{LedgerError, Page};
use crate::payment::{Amount, NewPayment, Payment};

/// The payment with id 1 is the first of these.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Vec<Payment>>);

impl Memory {
    pub(super) fn pay(&self, new: NewPayment, attempt: u32) -> Payment {
        let NewPayment { amount, currency } = new;
        let mut payments = self.payments();
        let id = payments.len() as u64 + 1;
        let payment = Payment { id, amount, currency, refunded: 0, attempt };
        payments.push(payment.clone());
        payment
    }

    pub(super) fn refund(
        &self,
        id: u64,
        amount: Amount,
        attempt: u32,
    ) -> Result<Payment, LedgerError> {
        let mut payments = self.payments();
        let payment =
            index(id).and_then(|at| payments.get_mut(at)).ok_or(LedgerError::UnknownPayment)?;
        let left = payment.amount.minor_units() - payment.refunded;
        if amount.minor_units() > left {
            return Err(LedgerError::TooMuch { left });
        }
        payment.refunded += amount.minor_units();
        payment.attempt = attempt;
        Ok(payment.clone())
    }

    pub(super) fn payment(&self, id: u64) -> Option<Payment> {
        self.payments().get(index(id)?).cloned()
    }

    pub(super) fn newest(&self, limit: u32) -> Page {
        let payments = self.payments();
        Page {
            count: payments.len() as u64,
            payments: payments.iter().rev().take(limit as usize).cloned().collect(),
        }
    }

    /// No payment is ever half-made, so a panic elsewhere leaves nothing to repair.
    fn payments(&self) -> MutexGuard<'_, Vec<Payment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(id: u64) -> Option<usize> {
    usize::try_from(id.checked_sub(1)?).ok()
}
