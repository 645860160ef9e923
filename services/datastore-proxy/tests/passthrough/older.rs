//! An etcd before 3.7 knows no RangeStream.

use crate::etcd::{self, Etcd};
use crate::support::{Served, list, revision};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::kv_client::KvClient;
use sextant_proto::etcd::etcdserverpb::kv_server::{Kv, KvServer};
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// Passes on to a newer etcd what an older one knows.
struct Older(KvClient<Channel>);

#[tonic::async_trait]
impl Kv for Older {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        self.0.clone().range(request.into_inner()).await
    }

    type RangeStreamStream = Empty<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented(
            "unknown method RangeStream for service etcdserverpb.KV",
        ))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        self.0.clone().put(request.into_inner()).await
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        self.0.clone().delete_range(request.into_inner()).await
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        self.0.clone().txn(request.into_inner()).await
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.0.clone().compact(request.into_inner()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_streamed_all_the_same() {
    let Some(binary) = etcd::binary() else { return };
    let etcd = Etcd::start(&binary).await;
    let channel = Channel::from_shared(etcd.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let older = KvServer::new(Older(KvClient::new(channel)));
    let server = Server::builder()
        .add_service(older)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let served = Served::start_with(etcd::config(&address.to_string(), "/a")).await;
    let mut clients = served.clients().await;
    for number in 0..100 {
        clients.put(&format!("/x/{number:02}"), "v").await;
    }
    let whole = clients.kv.range(list("/x/")).await.unwrap().into_inner();
    let mut pieces = clients
        .kv
        .range_stream(list("/x/"))
        .await
        .unwrap()
        .into_inner();
    let (mut kvs, mut last, mut count) = (Vec::new(), None, 0);
    while let Some(piece) = pieces.message().await.unwrap() {
        let part = piece.range_response.unwrap();
        kvs.extend(part.kvs);
        last = part.header.or(last);
        count += 1;
    }
    assert!(count > 1, "it came in one piece");
    assert_eq!(kvs, whole.kvs);
    assert_eq!(revision(last), revision(whole.header));
    served.stop().await;
    server.abort();
}
