//! Killed and started again under a storm of connections: none of them reaches the database.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::Dialer;
use node_agent_tests::{Place, World};

use super::agent_is_here;

/// A server that greets whoever reaches it, and counts them: the ground truth.
struct Greeter {
    address: SocketAddr,
    visits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Greeter {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (visits, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, stopping) = (visits.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(mut stream) = stream {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(b"DATABASE");
                }
            }
        });
        Ok(Greeter {
            address,
            visits,
            stop,
            thread: Some(thread),
        })
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its own dial wakes it.
        drop(std::net::TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const RATE: u32 = 1_000;
const LASTS: Duration = Duration::from_secs(6);

#[test]
fn a_thousand_connects_a_second_through_kills_and_restarts_reach_no_database() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let greeter = Greeter::start()?;
    let mut world = World::builder()
        .trusting_server("greeter", greeter.address)
        .start()
        .unwrap();
    // It can be reached, and then it is seen.
    let second = Duration::from_secs(1);
    let mut outside = Dialer::start(&world.cgroup(Place::Outside))?;
    let free = outside.storm(greeter.address, 100, second, || Ok(()))?;
    assert!(
        free.greeted > 10 && greeter.visits() == free.opened,
        "{free:?}"
    );
    let before = greeter.visits();

    let mut inside = world.dialer()?;
    let met = inside.storm(greeter.address, RATE, LASTS, || {
        for _ in 0..3 {
            world.agent_mut().kill()?;
            // Some are refused before the next one is there.
            std::thread::sleep(Duration::from_millis(200));
            world.agent_mut().start()?;
        }
        Ok(())
    })?;
    println!("{met:?}");
    assert_eq!(greeter.visits(), before, "{met:?}");
    assert_eq!((met.greeted, met.other), (0, 0), "{met:?}");
    assert!(met.opened > 100 && met.refused > 100, "{met:?}");
    let wanted = usize::try_from(u64::from(RATE) * LASTS.as_secs())?;
    assert!(met.opened + met.refused > wanted / 2, "{met:?} of {wanted}");
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}
