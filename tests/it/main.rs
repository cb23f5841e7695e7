//! Tests of the library and of the real binary: one program, which is linked once. A module for each subject.

mod cell;
mod cli;
mod compare;
mod data;
mod edge;
mod examples;
mod executed_flops;
mod fault_driver;
mod faults;
mod hub;
mod jobs;
mod page;
mod parity;
mod push;
mod registries;
mod reported;
mod security;
mod seeds;
mod slurm;
mod support;
mod training;
mod tune;
mod until;
