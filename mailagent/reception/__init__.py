"""One transaction: who may send what to whom, stage, commit (C{IMessageDelivery}, C{IMessage})."""
