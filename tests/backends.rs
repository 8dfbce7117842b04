//! Every backend against its real broker: one contract, then what each broker has of its own.
//!
//! Needs redis-server and rabbitmq-server (Debian packages) and ministack (PyPI; `HOOKFERRY_TEST_VENV` names the
//! virtual environment that holds it). A broker that does not start fails its tests.

mod support {
    pub mod contract;
    pub mod events;
    pub mod harness;
    pub mod memory;
    pub mod process;
    pub mod rabbitmq;
    pub mod redis;
    pub mod sqs;
}

mod brokers {
    mod rabbitmq;
    mod redis;
    mod sqs;
}

macro_rules! contract {
    ($module:ident, $harness:ty: $($behaviour:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    crate::support::contract::$behaviour::<$harness>().await;
                }
            )+
        }
    };
    ($module:ident, $harness:ty) => {
        contract! {
            $module, $harness:
            everything_arrives_as_it_was,
            batches_follow_each_other,
            what_is_published_again_arrives_again_and_moves_no_cursor,
            a_broker_that_is_down_is_an_error_at_connect,
            nothing_delivered_is_missing_after_a_crash_of_the_broker,
            a_broker_that_answers_nothing_holds_no_call_longer_than_promised,
            a_call_that_is_given_up_loses_nothing,
            a_destination_that_is_missing_or_wrong_is_waited_for,
            only_the_event_that_is_too_large_is_rejected,
        }
    };
}

contract!(memory, crate::support::memory::InMemory);
contract!(redis, crate::support::redis::RedisServer);
contract!(rabbitmq, crate::support::rabbitmq::Rabbit);
contract!(sqs_standard, crate::support::sqs::Standard);
contract!(sqs_fifo, crate::support::sqs::Fifo);
