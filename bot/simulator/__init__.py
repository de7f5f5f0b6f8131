"""A pretend Twilio: the carrier's REST protocol, signed webhooks both ways, a ledger of what it accepted, and faults.

It is a program of its own (`python -m bot.simulator`), used alike by the demo, the tests and the benchmarks. Chorus talks to it as it
talks to Twilio and cannot tell the difference; nothing here imports Chorus except the segment counter.

    server    the process: command line, gunicorn, which path goes where
    rest      Messages.json as Twilio answers it
    products  Twilio's other products: which path goes where; account, services, content answer
    setup     how the account is set up, and the switches that put it out of order
    control   /_sim/...: text from a phone, read the ledger, switch faults
    page      the phones in the browser
    words     the page's own words in English, Spanish and Hindi
    switches  the faults in plain words, for the page
    codes     Twilio's error codes in plain words
    clock     Chorus' clock: what time it is there, a jump ahead, the digits of the authenticator apps
    transcript  what happened on the phones, as a test that plays it again
    world     what the parts share: lines, phones, accounts, messages
    inbound   a text from a phone becomes a webhook, the answer becomes messages
    receipts  queued, sent, delivered: when a status changes and who is told
    carrier   STOP, START and HELP as the carrier answers them
    faults    what goes wrong, and how often
    client    SimulatorClient and start_simulator, for tests and the demo
"""
