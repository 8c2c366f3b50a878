/* SPDX-License-Identifier: MIT */
/*
 * handover.pml - the hand-over protocol and all that may happen around it, for spin.
 *
 * The rows of source_takes() and destination_takes() are those of lib/engine/handover.c, word for word
 * ("record-ran" is record_ran here): the script check beside this file compares them. The rest is the world: a link that
 * loses, delays and cuts; processes that die at any point; a disk that fails; people who ask, and who
 * fence a side off and say so; a second destination process on the same record directory, started
 * after a crash, or by mistake beside the first.
 *
 * What is assumed: a process that died runs nothing any more. What is written to the record stays, and
 * of two writers one wins. A word is only said when it is true: see the words below. Messages of one
 * connection keep their order. Whoever asks sends one question at a time.
 *
 * Faults happen until `calm`, which comes at any time, and then no more; what must happen in the end is
 * asked from there on. Defines choose variants; check lists them, and what each must show.
 */

/* States, source. Then destination, and a later process there. */
mtype = { owns, offered, committed, unknown, gave, kept };
mtype = { loading, prepared, holding, record_ran, runs, record_aborted, aborted, lost,
	  found, closing, left };
/* Messages. */
mtype = { none, MANIFEST, PREPARED, COMMIT, RUNNING, RUN_FAILED, CANCEL, RESOLVE, RAN, ABORTED,
	  LOAD_FAILED, LOST };
/* What happens on one side. */
mtype = { saved, roll_back, loaded, load_failed, link_lost, ask, record_written, record_failed,
	  run_done, run_failed, fenced_source, fenced_destination };
/* The record, beside `none`. */
mtype = { says_ran, says_aborted };

/* ---- the protocol ---- */

hidden mtype sends;	/* by the row that was taken */

#define ROW(from, on, to, sent)	:: state == from && input == on -> state = to; sends = sent;

inline source_takes(state, input)
{
	sends = none;
	if
	ROW(owns, saved, offered, MANIFEST)
	ROW(owns, roll_back, kept, CANCEL)
	ROW(owns, LOAD_FAILED, kept, none)
	ROW(owns, link_lost, kept, none)
	ROW(offered, roll_back, kept, CANCEL)
	ROW(offered, LOAD_FAILED, kept, none)
	ROW(offered, link_lost, kept, none)
	ROW(offered, PREPARED, committed, COMMIT)

	ROW(committed, RUNNING, gave, none)
	ROW(committed, RUN_FAILED, gave, none)
	ROW(committed, RAN, gave, none)
	ROW(committed, LOST, gave, none)
	ROW(committed, ABORTED, kept, none)
	ROW(committed, link_lost, unknown, none)
	ROW(unknown, ask, unknown, RESOLVE)
	ROW(unknown, link_lost, unknown, none)
	ROW(unknown, RUNNING, gave, none)
	ROW(unknown, RUN_FAILED, gave, none)
	ROW(unknown, RAN, gave, none)
	ROW(unknown, LOST, gave, none)
	ROW(unknown, ABORTED, kept, none)
	ROW(unknown, fenced_destination, kept, none)
	ROW(unknown, fenced_source, gave, none)
#ifdef WRONG_SOURCE
	WRONG_SOURCE
#endif
	:: else		/* it has no place: refused */
	fi
}

inline destination_takes(state, input)
{
	sends = none;
	if
	ROW(loading, loaded, prepared, PREPARED)
	ROW(loading, load_failed, aborted, LOAD_FAILED)
	ROW(loading, CANCEL, aborted, none)
	ROW(loading, link_lost, aborted, none)
	ROW(loading, RESOLVE, aborted, ABORTED)
	ROW(loading, fenced_destination, aborted, none)
	ROW(loading, COMMIT, aborted, ABORTED)

	ROW(prepared, COMMIT, record_ran, none)
	ROW(prepared, CANCEL, record_aborted, none)
	ROW(prepared, link_lost, holding, none)
	ROW(prepared, RESOLVE, record_aborted, none)
	ROW(prepared, load_failed, record_aborted, none)
	ROW(prepared, fenced_destination, record_aborted, none)
	ROW(holding, link_lost, holding, none)
	ROW(holding, CANCEL, record_aborted, none)
	ROW(holding, load_failed, record_aborted, none)
	ROW(holding, RESOLVE, record_aborted, none)
	ROW(holding, fenced_source, record_ran, none)
	ROW(holding, fenced_destination, record_aborted, none)

	ROW(record_ran, record_written, runs, none)
	ROW(record_ran, record_failed, aborted, ABORTED)
	ROW(record_ran, RESOLVE, record_ran, none)
	ROW(record_ran, link_lost, record_ran, none)
	ROW(record_aborted, record_written, aborted, ABORTED)
	ROW(record_aborted, record_failed, aborted, ABORTED)
	ROW(record_aborted, RESOLVE, record_aborted, none)
	ROW(record_aborted, COMMIT, record_aborted, none)
	ROW(record_aborted, CANCEL, record_aborted, none)
	ROW(record_aborted, link_lost, record_aborted, none)

	ROW(runs, run_done, runs, RUNNING)
	ROW(runs, run_failed, lost, RUN_FAILED)
	ROW(runs, RESOLVE, runs, RAN)
	ROW(runs, link_lost, runs, none)
	ROW(lost, RESOLVE, lost, LOST)
	ROW(lost, link_lost, lost, none)
	ROW(aborted, RESOLVE, aborted, ABORTED)
	ROW(aborted, CANCEL, aborted, none)
	ROW(aborted, link_lost, aborted, none)
	ROW(aborted, COMMIT, aborted, ABORTED)

	ROW(found, RESOLVE, closing, none)
	ROW(closing, record_written, aborted, ABORTED)
	ROW(closing, record_failed, found, none)
	ROW(left, RESOLVE, left, RAN)
#ifdef WRONG_DESTINATION
	WRONG_DESTINATION
#endif
	:: else
	fi
}

/* ---- the world ---- */

mtype src = owns;
mtype dst = loading;		/* the process that took the migration */
mtype later = none;		/* another one on the same record directory, while it answers */
bool src_lives = true, dst_lives = true;
mtype record = none;

bool link = true, whole = true;			/* whole: no message was lost on it */
bool src_reads = true, dst_reads = true;	/* false: heard that the link is lost */
chan to_src = [4] of { mtype };
chan to_dst = [4] of { mtype };
chan question = [1] of { mtype };		/* each over a connection of its own */
chan answer = [1] of { mtype };
mtype src_told = none, dst_told = none;		/* a word of the operator's, on its way */
bool asked;					/* the first process owes an answer */
bool manifest;					/* is here */
bool started;					/* RUNNING was said */
bool calm;

/* What did happen, for the properties. */
bool committed_once;	/* COMMIT was sent */
bool gave_copy_up;	/* the first process said or recorded that it never runs */
bool took_back;		/* the source went on with the machine */
bool ran;		/* the destination went on with it */
bool word_to_src;	/* `fenced destination` was said to the source, and taken */
bool excused;		/* who held the machine died, or somebody gave it up */

#ifdef NO_RECORDS
#define HAS_RECORDS	false
#else
#define HAS_RECORDS	true
#endif
#ifdef FENCE_ONLY		/* nobody can be asked */
#define MAY_ANSWER	false
#else
#define MAY_ANSWER	HAS_RECORDS
#endif

#define SRC_MAY_RUN	(src_lives && (src == owns || src == offered || src == kept))
#define DST_MAY_RUN	(dst_lives && (dst == runs || dst == lost))
#define SRC_RUNS	(src_lives && (src == owns || src == kept))
#define DST_RUNS	(dst_lives && dst == runs)
#define DST_HOLDS	(dst_lives && record != says_aborted && \
			 (dst == prepared || dst == holding || dst == record_ran || dst == runs))
/* Nobody has it who could still run it. A copy that the source has gone on from is worth nothing. */
#define LOST_FOR_GOOD	(!(src_lives && src != gave) && !(DST_HOLDS && !took_back))
#define SETTLED		(SRC_RUNS || DST_RUNS || LOST_FOR_GOOD)

/*
 * Words are true when they are said. Fenced means: cannot run any more, which holds for whoever died,
 * and for a source that gave the machine up. That the machine did not go on there meanwhile is asked
 * for as well. Who is HASTY leaves that out: still there are never two, but what went on is lost.
 */
#ifdef FALSE_WORDS
#define DST_IS_FENCED	true
#define SRC_IS_FENCED	true
#elif defined(HASTY) || defined(EAGER)
#define DST_IS_FENCED	(!dst_lives)
#define SRC_IS_FENCED	(!src_lives || src == gave)
#else
#define DST_IS_FENCED	(!dst_lives && !ran)
#define SRC_IS_FENCED	((!src_lives || src == gave) && !took_back)
#endif

inline check()
{
	assert(!(SRC_MAY_RUN && DST_MAY_RUN));		/* never two */
	assert(!LOST_FOR_GOOD || excused);		/* one fault elsewhere never costs the machine */
}

inline send(channel, message)
{
	if
	:: message != none && link -> assert(len(channel) < 4); channel!message
	:: else
	fi
}

inline after_source()
{
	if
	:: src == kept && !took_back ->
		took_back = true;
		/* Never after COMMIT without the destination's promise, or the word. */
		assert(!committed_once || record == says_aborted || gave_copy_up || word_to_src);
#ifndef HASTY
		assert(!ran)				/* never from a copy that was gone on from */
#endif
	:: else
	fi;
	if
	:: sends == COMMIT -> committed_once = true
	:: else
	fi;
	check()
}

inline after_destination()
{
	if
	:: dst == runs && !ran ->
		ran = true;
		assert(record == says_ran || record == none && !HAS_RECORDS);
#ifndef HASTY
		assert(!took_back)
#endif
	:: dst == aborted -> gave_copy_up = true
	:: else
	fi;
	/* The one who asked hears it; else the source, over the link. */
	if
	:: asked && (sends == ABORTED || sends == RAN || sends == LOST) ->
		asked = false;
		if
		:: len(answer) == 0 -> answer!sends
		:: else		/* nobody waits for it any more */
		fi
	:: else -> send(to_src, sends)
	fi;
	check()
}

#define SRC_GONE	(!src_lives || src == gave)
#define DST_WAITS	(dst == loading || dst == prepared || dst == holding)

/* Of two that decide one wins. A disk may fail, and then the word is there or not. */
inline decide(word, result)
{
	if
#ifdef OVERWRITES
	:: record = word; result = record_written
#endif
	:: !HAS_RECORDS || record == word -> result = record_written
	:: HAS_RECORDS && record != none && record != word -> result = record_failed
	:: HAS_RECORDS && record == none -> record = word; result = record_written
	:: HAS_RECORDS && record == none && !calm -> result = record_failed;
		excused = excused || SRC_GONE
	:: HAS_RECORDS && record == none && !calm -> record = word; result = record_failed;
		excused = true
	fi
}

inline clear(channel)
{
	do
	:: len(channel) > 0 -> channel?_
	:: len(channel) == 0 -> break
	od
}

/* Its crash costs the machine if nobody else holds it, or was just asked to let go of it. */
inline src_dies()
{
	excused = excused || src == owns || src == offered || src == kept || !DST_HOLDS ||
		  len(question) > 0 || asked || later == closing;
	src_lives = false; link = false; src_reads = false; src_told = none;
	clear(to_src);
	clear(answer)
}

inline dst_dies()
{
	excused = excused || record == says_ran || dst == runs || SRC_GONE;
	dst_lives = false; link = false; dst_reads = false; dst_told = none; asked = false;
	clear(to_dst)
}

active proctype Source()
{
	mtype in;

end:	do
	:: atomic {
		if
		:: src_lives && src_reads && len(to_src) > 0 -> to_src?in
		:: src_lives && len(answer) > 0 -> answer?in
		:: src_lives && src_told != none -> in = src_told; src_told = none;
			word_to_src = word_to_src || (src == unknown && in == fenced_destination);
			excused = excused || (src == unknown && in == fenced_source)
		:: src_lives && src == owns -> in = saved
		/* A cancel, a failure, the pause budget. */
		:: src_lives && (src == owns || src == offered) -> in = roll_back
		/* The link is gone, or nothing came for too long: it is not read any more. */
		:: src_lives && src_reads && (!link || !whole || !calm) -> in = link_lost;
			src_reads = false; link = false; clear(to_src)
		/* RUNNING does not come in time; the link is read on. */
		:: src_lives && src == committed -> in = link_lost
		fi;
		source_takes(src, in);
		in = none;
		if
		:: sends == RESOLVE && len(question) == 0 -> question!RESOLVE
		:: sends == RESOLVE && len(question) > 0
		:: else -> send(to_dst, sends)
		fi;
		after_source() }
	od
}

active proctype Destination()
{
	mtype in;

end:	do
	:: atomic {
		if
		:: dst_lives && dst_reads && len(to_dst) > 0 -> to_dst?in;
			manifest = manifest || in == MANIFEST
		:: dst_lives && len(question) > 0 -> question?in; asked = true
		:: dst_lives && dst_told != none -> in = dst_told; dst_told = none;
			excused = excused || (in == fenced_destination && SRC_GONE)
		:: dst_lives && dst == loading && manifest -> in = loaded
		/* A device dies, or somebody on this side cancels. */
		:: dst_lives && !calm && DST_WAITS -> in = load_failed; excused = excused || SRC_GONE
		:: dst_lives && !calm && DST_WAITS -> in = CANCEL; excused = excused || SRC_GONE
		:: dst_lives && dst_reads && (!link || !whole || !calm) -> in = link_lost;
			dst_reads = false; link = false; clear(to_dst)
		:: dst_lives && dst == record_ran -> decide(says_ran, in)
		:: dst_lives && dst == record_aborted -> decide(says_aborted, in)
		/* Whoever asked while `ran` was being written is answered after. */
		:: dst_lives && asked && (dst == runs || dst == lost) -> in = RESOLVE
		:: dst_lives && dst == runs && !started -> in = run_done; started = true
		:: dst_lives && dst == runs && !started && !calm -> in = run_failed; started = true;
			excused = true
		fi;
		destination_takes(dst, in);
		in = none;
		after_destination() }
	od
}

/* A process that is asked for a migration which is not its own looks into the record. */
active proctype Later()
{
	mtype in;

end:	do
	:: atomic {
		if
		:: MAY_ANSWER && later == none && len(question) > 0 -> question?in;
			if
#ifdef NO_LOOK
			:: later = found
#else
			:: record == none -> later = found
			:: record == says_aborted -> later = aborted
			:: record == says_ran -> later = lost
			:: record == says_ran -> later = left
#endif
			fi
		:: later == closing -> decide(says_aborted, in)
		:: later == closing && !calm -> later = none; in = none		/* it dies as well */
		fi;
		destination_takes(later, in);
		in = none;
		if
		:: sends != none && len(answer) == 0 -> answer!sends
		:: else
		fi;
		if
		:: later != closing -> later = none
		:: else
		fi;
		check() }
	od
}

active proctype Faults()
{
end:	do
	:: atomic { !calm -> calm = true }
	:: atomic { !calm && link -> link = false }
	:: atomic { !calm && len(to_src) > 0 -> to_src?_; whole = false }
	:: atomic { !calm && len(to_dst) > 0 -> to_dst?_; whole = false }
	:: atomic { !calm && len(question) > 0 -> question?_ }
	:: atomic { !calm && len(answer) > 0 -> answer?_ }
	:: atomic { !calm && src_lives -> src_dies(); check() }
	:: atomic { !calm && dst_lives -> dst_dies(); check() }
	od
}

#ifndef FENCE_ONLY
active proctype Asker()
{
end:	do
	:: atomic { src_lives && src == unknown && src_told == none && len(question) == 0 &&
		    len(answer) == 0 && !asked -> src_told = ask }
	/* Again: the answer may never come. */
	:: atomic { !calm && src_lives && src == unknown && src_told == none && asked ->
		src_told = ask }
	od
}
#endif

/* Says that a side is fenced, when it is; also too late, twice, and where it has no place. */
active proctype Operator()
{
end:	do
#ifdef FENCE_ONLY
	/* Nobody answers any more: one side is made sure of. */
	:: atomic { calm && src_lives && src == unknown && dst_lives -> excused = true; dst_dies() }
	:: atomic { calm && src_lives && src == unknown && dst_lives && dst == holding ->
		excused = true; src_dies() }
#endif
#ifndef MUTE
	:: atomic { src_lives && DST_IS_FENCED && src_told == none && (src == unknown || !calm) ->
		src_told = fenced_destination }
	:: atomic { dst_lives && SRC_IS_FENCED && dst_told == none && (dst == holding || !calm) ->
		dst_told = fenced_source }
#endif
	/* Giving it up is always possible, and always safe. */
	:: atomic { !calm && src_lives && src_told == none -> src_told = fenced_source }
	:: atomic { !calm && dst_lives && dst_told == none -> dst_told = fenced_destination }
	od
}

/* When nothing can happen any more, it is an end. */
active proctype Observer()
{
end:	do
	:: atomic { timeout -> assert(SETTLED); break }
	od
}

#ifdef LIVENESS
ltl settles { [] (calm -> <> SETTLED) }
#endif
