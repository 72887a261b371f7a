"""Messages for the queue come out as they went in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.workers.wire import pack, unpack

texts = st.text()
addresses = st.builds(Address, texts, texts)
notifies = st.builds(
    Notify,
    st.frozensets(st.sampled_from(["NEVER", "SUCCESS", "FAILURE", "DELAY"])),
    st.none() | st.tuples(texts, texts),
)
envelopes = st.builds(
    Envelope,
    st.none() | addresses,
    st.lists(addresses).map(tuple),
    st.none() | st.integers(0),
    st.booleans(),
    st.booleans(),
    st.none() | texts,
    st.none() | texts,
    st.booleans(),
    st.dictionaries(addresses, notifies),
)
messages = st.builds(
    QueuedMessage, texts, envelopes, st.binary(), st.none() | addresses, texts, st.none() | st.binary()
)


@given(st.lists(messages))
def test_messages_come_out_as_they_went_in(given_messages: list[QueuedMessage]) -> None:
    assert unpack(json.loads(json.dumps(pack(given_messages)))) == given_messages


@pytest.mark.parametrize("packed", [[{}], [None], [{"id": "x", "envelope": {}}], [7]])
def test_what_are_no_messages_is_refused(packed: list[object]) -> None:
    with pytest.raises(ValueError, match="no messages"):
        unpack(packed)
