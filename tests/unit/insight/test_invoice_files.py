"""Exports are read in their providers' own columns, and refused by the column or line at fault."""

from datetime import date

import pytest

from llm_gateway.insight.invoice_files import SHAPES, InvoiceFileError, Stated, read_export

OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,\
model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens
1795132800,1795219200,,,proj_1,3,,key_a,gpt-4o-2024-08-06,False,,100,20,40
1795132800,1795219200,,,proj_1,2,,key_b,gpt-4o-2024-08-06,False,,10,5,0
1795219200,1795305600,,,,,,,,,,,,
1795219200,1795305600,,,proj_1,1,,key_a,gpt-4o-mini,False,,7,1,0
"""
OPENAI_COST = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1795132800,1795219200,,,0.0002500000000000,usd,"gpt-4o-2024-08-06, input",proj_1
1795132800,1795219200,,,1.5e-05,usd,"gpt-4o-2024-08-06, cached input",proj_1
1795132800,1795219200,,,0.001,usd,"gpt-4o-2024-08-06, output",proj_1
1795219200,1795305600,,,,,,
"""
ANTHROPIC_TOKENS = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,\
usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,\
usage_input_tokens_cache_read,usage_output_tokens,web_search_count
2026-11-20,claude-sonnet-4-5-20250929,main,Default,standard,≤ 200k,100,10,5,1000,50,0
2026-11-20,claude-sonnet-4-5-20250929,other,Default,standard,≤ 200k,1,0,0,0,1,0
"""
ANTHROPIC_COST = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type
2026-11-20,Claude Sonnet 4.5,Default,main,message,≤ 200k,input_no_cache,0.05,token
2026-11-20,Claude Sonnet 4.5,Default,main,message,≤ 200k,output,0.25,token
"""
DAY = date(2026, 11, 20)


def read(text: str) -> list[Stated]:
    return read_export(text.splitlines(keepends=True))


def test_openais_usage_is_summed_by_day_and_model() -> None:
    first, second = read(OPENAI_USAGE)
    assert first == Stated(
        day=DAY,
        model="gpt-4o-2024-08-06",
        requests=5,
        input_tokens=110,
        cached_tokens=40,
        output_tokens=25,
        keys=frozenset({"key_a", "key_b"}),
    )
    assert (second.day, second.model, second.requests) == (date(2026, 11, 21), "gpt-4o-mini", 1)


def test_openais_line_items_are_costs_of_a_model() -> None:
    (cost,) = read(OPENAI_COST)
    assert cost == Stated(day=DAY, model="gpt-4o-2024-08-06", cost_nano=1_265_000)


def test_anthropics_input_is_fresh_written_and_read_together() -> None:
    (tokens,) = read(ANTHROPIC_TOKENS)
    assert tokens == Stated(
        day=DAY,
        model="claude-sonnet-4-5-20250929",
        input_tokens=1116,
        cached_tokens=1000,
        output_tokens=51,
        keys=frozenset({"main", "other"}),
    )
    (cost,) = read(ANTHROPIC_COST)
    assert (cost.model, cost.cost_nano) == ("Claude Sonnet 4.5", 300_000_000)


def test_a_byte_order_mark_and_spaces_around_names_do_not_matter() -> None:
    assert read("\ufeff" + ANTHROPIC_COST) == read(ANTHROPIC_COST)
    assert read(ANTHROPIC_COST.replace("model,workspace", " model , workspace")) == read(
        ANTHROPIC_COST
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_missing_column_is_named(shape: object) -> None:
    columns = list(getattr(shape, "columns", ()))
    gone = columns.pop()
    with pytest.raises(InvoiceFileError, match=rf"lacks the column .*{gone}"):
        read(",".join(columns) + "\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the column"),
        ("a,b\n1,2\n", "lacks the column"),
        (OPENAI_USAGE.replace(",100,20,40", ",12.5,20,40"), "Line 2: input_tokens is '12.5'"),
        (OPENAI_USAGE.replace(",100,20,40", ",-1,20,40"), "Line 2: input_tokens"),
        (OPENAI_USAGE.replace(",100,20,40", f",{10**30},20,40"), "Line 2: input_tokens"),
        (OPENAI_USAGE.replace("gpt-4o-mini", ""), "Line 5: Group the export by model"),
        (OPENAI_USAGE.replace(",7,1,0", ",7,1,0,9"), "Line 5 has other columns"),
        (OPENAI_USAGE.replace(",7,1,0", ",7"), "Line 5 has other columns"),
        (OPENAI_COST.replace('"gpt-4o-2024-08-06, output"', ""), "Group the export by line"),
        (OPENAI_COST.replace("0.001,usd", "0.001,eur"), "Line 4: amount_currency is 'eur'"),
        (OPENAI_COST.replace("0.001,", "NaN,"), "Line 4: amount_value"),
        (OPENAI_COST.replace("0.001,", "1e400,"), "Line 4: amount_value"),
        (OPENAI_COST.replace("1795132800,", "99999999999999,"), "Line 2: start_time .* no time"),
        (ANTHROPIC_COST.replace("2026-11-20,", "20th,", 1), "Line 2: usage_date_utc is '20th'"),
        (ANTHROPIC_COST + '"never closed', "not CSV"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_by_its_line(text: str, says: str) -> None:
    with pytest.raises(InvoiceFileError, match=says):
        read(text)
