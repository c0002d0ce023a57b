//! The event bus compared with a simple model: each connection has a list of the events that it
//! must receive.

use proptest::prelude::*;

use bus_model::BusModel;
use model_script::{ModelOp, model_op};

#[path = "bus_model_tests.rs"]
mod bus_model;
#[path = "model_client_tests.rs"]
mod model_client;
#[path = "model_script_tests.rs"]
mod model_script;
fn run_ops(presence: bool, ops: Vec<ModelOp>) {
    let mut model = BusModel::new(presence);
    for op in ops {
        model.run(op);
        model.check();
    }
    for client in &mut model.clients {
        client.is_stalled = false;
    }
    model.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_gets_exactly_its_events(ops in prop::collection::vec(model_op(), 1..60)) {
        run_ops(false, ops);
    }

    #[test]
    fn presence_lists_and_changes_match_the_model(ops in prop::collection::vec(model_op(), 1..60)) {
        run_ops(true, ops);
    }
}
