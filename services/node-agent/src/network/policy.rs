//! A cluster without network policy: nothing that netpol-controller left may go on judging.

use super::nft::Nft;
use crate::error::Error;
use std::io::ErrorKind;
use std::path::Path;

/// netpol-controller's table. It stays in force when the controller dies or its pod is removed by hand.
const TABLE: &str = "inet sextant-netpol";

/// Removes the table and the socket. While a controller still runs it may make its table again; it removes that
/// itself when its DaemonSet is gone, and otherwise the next look does.
pub(super) async fn remove(nft: &Nft, socket: &Path) -> Result<(), Error> {
    nft.remove(TABLE).await?;
    // Bound under the second name, then renamed.
    for path in [socket.to_owned(), socket.with_extension("new")] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::file("removing", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}
