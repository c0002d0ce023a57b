//! Black-box tests of the product, through its public interface.

mod abuse;
mod change_path;
mod contract;
mod convergence;
mod embedded;
mod harness;
mod packaging;
mod postgres;
mod tidy;
