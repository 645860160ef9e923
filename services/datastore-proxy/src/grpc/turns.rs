//! The engine as what queues are kept in.

use super::Services;
use super::queue::Store;
use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::domain::request::{Query, RangeAnswer, Txn, TxnAnswer};
use crate::engine::{Reply, Request as Work};
use sextant_kit::Drain;
use tonic::{Request, Status};

#[tonic::async_trait]
impl Store for Services {
    type Source = Self;

    fn source(&self) -> &Self {
        self
    }

    fn caller<T>(&self, request: &Request<T>, call: Call) -> Result<Caller, Status> {
        Self::caller(self, request, call)
    }

    fn drain(&self) -> &Drain {
        &self.drain
    }

    async fn read(&self, query: &Query) -> Result<RangeAnswer, Status> {
        self.engine.confirm().await?;
        Ok(self.engine.range(query, false).await?)
    }

    async fn run(&self, txn: Txn, caller: &Caller) -> Result<TxnAnswer, Status> {
        match self.engine.submit(Work::Txn(txn), caller.clone()).await? {
            Reply::Txn(answer) => Ok(answer),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn grant(&self, seconds: i64, caller: &Caller) -> Result<i64, Status> {
        let id = rand::random_range(1..i64::MAX);
        let work = Work::Grant { id, ttl: seconds };
        self.engine.submit(work, caller.clone()).await?;
        Ok(id)
    }

    async fn renew(&self, lease: i64, caller: &Caller) -> Result<(), Status> {
        match self
            .engine
            .submit(Work::Renew { id: lease }, caller.clone())
            .await
        {
            Ok(_) | Err(Fault::LeaseNotFound) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}
