/* From events to what they have come to; total where the laws hold. */

/* ---- The fold (rule 10: what would be an anomaly is an assertion) ---- */

inline witness(offset) {
    if
    :: offset > sh[self].seen_end -> sh[self].seen_end = offset; sh[self].seen_at = sh[self].folded
    :: else
    fi
}

inline fold_event() {
    number = event_sequence(event);
    if
    :: event_kind(event) == OPENED ->
        if
        :: sh[self].current != 0 -> sh[self].last[sh[self].current] = sh[self].folded - 1
        :: else
        fi;
        sh[self].current = event_session(event);
        sh[self].first[sh[self].current] = sh[self].folded
    :: event_kind(event) == SENT ->
        assert(number == sh[self].next);
        sh[self].next = number + 1;
        sh[self].sent[number] = event_bytes(event);
        sh[self].sent_at[number] = sh[self].folded
    :: event_kind(event) == RECEIVED ->
        /* Only a receipt or an accept moves the floor. */
        if
        :: event_settled(event) > sh[self].floor -> sh[self].floor = event_settled(event)
        :: else
        fi;
        assert(sh[self].got[number] == 0);      /* the effect at most once */
        sh[self].got[number] = event_bytes(event);
        sh[self].how[number] = event_how(event);
        sh[self].at[number] = sh[self].folded;
        if
        :: number > sh[self].through -> sh[self].through = number
        :: else
        fi;
        if
        :: WITHOUT(FLOOR_ON_THE_ORIGINS_WORD) -> sh[self].floor = sh[self].through
        :: else
        fi;
        witness(event_offset(event))
    :: event_kind(event) == ANSWERED ->
        assert(sh[self].how[number] == OWED);
        sh[self].how[number] = REPLIED;
        sh[self].at[number] = sh[self].folded
    :: event_kind(event) == SETTLED ->
        assert(is_pending(self, number));       /* acknowledged xor timed out xor lost */
        sh[self].result[number] = event_result(event);
        if
        :: event_result(event) != FORCED -> witness(event_offset(event))
        :: else
        fi
    :: event_kind(event) == WITNESSED ->
        sh[self].seen = event_session(event);
        sh[self].seen_end = event_offset(event);
        sh[self].seen_at = sh[self].folded
    :: event_kind(event) == INTERVENED -> fold_accept()
    fi
}

/* `recover accept` (rule 2): own sends that the peer holds or would drop are closed as lost. */
inline fold_accept() {
    item = event_statement(event);
    low = 0;
    do
    :: sh[self].accepted[low] != 0 -> low++
    :: else -> break
    od;
    sh[self].accepted[low] = item;
    /* Where the history that it names parts from this log. */
    low = 0;
    place = statement_session(item);
    if
    :: place == sh[self].current -> low = sh[self].folded
    :: place != sh[self].current && sh[self].first[place] != 0 -> low = sh[self].last[place]
    :: else
    fi;
    number = 1;
    do
    :: number < SEQUENCES ->
        if
        :: is_pending(self, number) && !WITHOUT(ACCEPT_CLOSES_OVERLAPS) &&
            (number <= statement_floor(item) && !WITHOUT(ACCEPT_CLOSES_BELOW_FLOOR) ||
            number <= statement_through(item) &&
                sh[self].sent_at[number] > low) -> sh[self].result[number] = LOST
        :: else
        fi;
        number++
    :: else -> break
    od;
    if
    :: statement_floor(item) >= sh[self].next -> sh[self].next = statement_floor(item) + 1
    :: else
    fi;
    if
    :: statement_through(item) >= sh[self].next && !WITHOUT(ACCEPT_MOVES_NEXT) ->
        sh[self].next = statement_through(item) + 1
    :: else
    fi;
    if
    :: statement_settled(item) > sh[self].floor ->
        sh[self].floor = statement_settled(item)
    :: else
    fi
}

inline fold() {
    do
    :: sh[self].folded < sh[self].end ->
        sh[self].folded++;
        event = sh[self].log[sh[self].folded];
        fold_event()
    :: else -> break
    od;
    sh[self].settled = 0;
    do
    :: sh[self].settled + 1 < sh[self].next && !is_pending(self, sh[self].settled + 1) ->
        sh[self].settled++
    :: else -> break
    od
}
