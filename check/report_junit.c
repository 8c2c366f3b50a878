/* SPDX-License-Identifier: MIT */
/* report_junit.c - a run as JUnit's XML, as test services read it; see report.h. */
#include <errno.h>

#include "report.h"

static void put_escaped(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			(void) fputs("&amp;", to);
			break;
		case '<':
			(void) fputs("&lt;", to);
			break;
		case '>':
			(void) fputs("&gt;", to);
			break;
		case '"':
			(void) fputs("&quot;", to);
			break;
		default:	/* what XML 1.0 can't hold at all becomes a question mark */
			(void) fputc((unsigned char) *text < ' ' ? '?' : *text, to);
		}
	}
}

static void put_case(FILE *to, const struct check_result *r)
{
	(void) fprintf(to, "  <testcase classname=\"%s\" name=\"%s\" time=\"%.6f\">\n",
		       check_group_of(r->assertion)->name, r->assertion->id, (double) r->ns / 1e9);
	if (r->verdict == CHECK_FAIL || r->verdict == CHECK_BLOCKED) {
		(void) fprintf(to, "    <%s message=\"", r->verdict == CHECK_FAIL ? "failure" : "error");
		put_escaped(to, r->text);
		(void) fputs("\">expected: ", to);
		put_escaped(to, r->assertion->sentence);
		(void) fputs("; from ", to);
		put_escaped(to, r->assertion->source);
		(void) fprintf(to, "</%s>\n", r->verdict == CHECK_FAIL ? "failure" : "error");
	} else if (r->verdict == CHECK_SKIP) {
		(void) fputs("    <skipped message=\"", to);
		put_escaped(to, r->text);
		(void) fputs("\"/>\n", to);
	} else if (r->text[0]) {
		(void) fputs("    <system-out>", to);
		put_escaped(to, r->text);
		(void) fputs("</system-out>\n", to);
	}
	(void) fputs("  </testcase>\n", to);
}

int check_junit(FILE *to, const char *device, const struct check_results *results,
		const struct check_report *report)
{
	(void) fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"vferry check ", to);
	put_escaped(to, device);
	(void) fprintf(to, "\" tests=\"%zu\" failures=\"%u\" errors=\"%u\" skipped=\"%u\">\n",
		       results->count, report->verdicts[CHECK_FAIL], report->verdicts[CHECK_BLOCKED],
		       report->verdicts[CHECK_SKIP]);
	for (size_t i = 0; i < results->count; i++)
		put_case(to, &results->list[i]);
	(void) fputs("</testsuite>\n", to);
	return ferror(to) ? -EIO : 0;
}
