// What the attribute writes for `function.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! A method with every option that a function has.
use idempotent_runtime::{Error, Idempotency, idempotent_fn};
pub struct Consumer {
    idempotency: Idempotency,
}
pub struct Paid {
    id: u64,
    tenant: String,
    amount: u64,
    currency: String,
}
impl Consumer {
    /// Doc comments, visibility and other attributes stay.
    pub async fn on_paid(&self, event: Paid) -> Result<String, Error> {
        use ::idempotent_runtime::__private as __idempotent;
        let __idempotent_values = __idempotent::values::<Result<String, Error>>();
        let (__idempotent_call, attempt) = __idempotent::Function::new(
                &self.idempotency,
                {
                    static __IDEMPOTENT_SITE: __idempotent::Site = __idempotent::Site::new(
                        __idempotent::Spec::new(
                                __idempotent::concat!(
                                    __idempotent::module_path!(), "::on_paid"
                                ),
                            )
                            .ttl(604800000)
                            .lease(30000)
                            .wait(1500)
                            .on_abandoned(__idempotent::OnAbandoned::Halt)
                            .on_store_error(__idempotent::OnStoreError::Bypass)
                            .on_record_failure(__idempotent::OnRecordFailure::Withhold)
                            .operation("ship_order"),
                    );
                    &__IDEMPOTENT_SITE
                },
            )
            .scope(&event.tenant)
            .fingerprint(&(&&event.amount, &&event.currency))
            .key(&event.id)
            .attempt(&__idempotent_values);
        __idempotent::run_function(
                __idempotent_call,
                move || async move {
                    if let __idempotent::Some(__idempotent_result) = __idempotent::None::<
                        Result<String, Error>,
                    > {
                        return __idempotent_result;
                    }
                    let event = event;
                    let Paid { id, .. } = event;
                    Ok(format!("shipped {id} in attempt {}", attempt.number()))
                },
                __idempotent_values,
            )
            .await
    }
}
async fn greet(idempotency: &Idempotency, names: &[String]) -> Result<usize, Error> {
    use ::idempotent_runtime::__private as __idempotent;
    __idempotent::run_function(
            __idempotent::Function::new(
                    &idempotency,
                    {
                        static __IDEMPOTENT_SITE: __idempotent::Site = __idempotent::Site::new(
                            __idempotent::Spec::new(
                                __idempotent::concat!(
                                    __idempotent::module_path!(), "::greet"
                                ),
                            ),
                        );
                        &__IDEMPOTENT_SITE
                    },
                )
                .key_content(&names),
            move || async move {
                if let __idempotent::Some(__idempotent_result) = __idempotent::None::<
                    Result<usize, Error>,
                > {
                    return __idempotent_result;
                }
                let idempotency = idempotency;
                let _ = &idempotency;
                let names = names;
                Ok(names.len())
            },
            __idempotent::values(),
        )
        .await
}
pub fn main() {
    let _ = Consumer::on_paid;
    let _ = greet;
}
