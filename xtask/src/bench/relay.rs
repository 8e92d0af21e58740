//! The bare relay: bytes from one socket to the other, two threads for each connection, nothing
//! looked at. What any proxy costs at least.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Serves until the process is ended.
pub(super) fn serve(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot take {listen}"))?;
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        thread::spawn(move || {
            // A connection that cannot be made ends the client's, as it would without a relay.
            let _ = relay(client, to);
        });
    }
    Ok(())
}

fn relay(client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let there = thread::spawn(move || carry(from_client, to_server));
    carry(server, client);
    let _ = there.join();
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..got) else {
            break;
        };
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn what_goes_in_comes_out_and_the_end_is_passed_on() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = echo.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let (server, _) = front.accept().unwrap();
        thread::spawn(move || relay(server, to));
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, sent);
    }
}
