"""From a reader's queue to the datapath, which is far away."""

from amaranth.hdl import Mux, Signal, Value

from .pipeline import QUEUE_DEPTH, QUEUE_REGISTERS

__all__ = ["count_credit", "relay", "relay_in_turns"]


def relay(m, queue, out):
    """Put two registers between a queue and a stream far away; return whether a beat leaves it.

    Nothing but registers drives the stream, and what takes beats from the queue is a register too.
    """
    payload = Value.cast(out.payload)
    spare = Signal.like(payload, name="spare", reset_less=True)
    spare_full = Signal()
    taken = Signal()
    m.d.comb += [taken.eq(queue.valid & ~spare_full), queue.take.eq(~spare_full)]
    with m.If(~spare_full):
        m.d.sync += spare.eq(queue.data)
    with m.If(out.ready | ~out.valid):
        m.d.sync += [
            payload.eq(Mux(spare_full, spare, queue.data)),
            out.valid.eq(spare_full | queue.valid), spare_full.eq(0),
        ]
    with m.Elif(taken):
        m.d.sync += spare_full.eq(1)
    return taken


def relay_in_turns(m, queue, out):
    """Do the same in the same cycles for a stream whose taker registers all that is offered.

    Two registers take turns. So ``out.ready``, from far away, decides over single flags and not
    over every bit of a wide word; but a multiplexer stands between the registers and the stream.
    """
    words = [
        Signal.like(queue.data, name=f"word_{i}", reset_less=True) for i in range(QUEUE_REGISTERS)
    ]
    full = Signal()
    filling = Signal()
    leaving = Signal()
    taken = Signal()
    gone = Signal()
    m.d.comb += [
        taken.eq(queue.valid & ~full), queue.take.eq(~full), gone.eq(out.valid & out.ready),
        out.payload.eq(Mux(leaving, words[1], words[0])),
    ]
    for i, word in enumerate(words):
        with m.If(~full & (filling == i)):
            m.d.sync += word.eq(queue.data)
    m.d.sync += [
        full.eq(~gone & (full | (out.valid & taken))),
        out.valid.eq(full | taken | (out.valid & ~gone)),
        filling.eq(filling ^ taken), leaving.eq(leaving ^ gone),
    ]
    return taken


def count_credit(m, credit, issue, taken):
    """Keep ``credit`` high while fewer than `QUEUE_DEPTH` beats are in flight or queued."""
    held = Signal(range(QUEUE_DEPTH + 1))
    # The number after this cycle is compared without waiting for it.
    with m.If(issue & ~taken):
        m.d.sync += [held.eq(held + 1), credit.eq(held < QUEUE_DEPTH - 1)]
    with m.Elif(~issue & taken):
        m.d.sync += [held.eq(held - 1), credit.eq(1)]
