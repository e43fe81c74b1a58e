"""Answers that a model may write to stop, crash or fool a grader: 300, of ten kinds."""


def hostile_answers() -> dict[str, list[str]]:
    """Thirty answers of every kind, none of them equal to 7, x^2+1 or 1/(2n+2)."""
    numbers = range(30)
    return {
        "towers and powers": [
            (f"{n + 2}^{{{n + 3}^{{{n + 4}^{{9}}}}}}", f"{n}**{10 + n}**{10 + n}",
             f"{n + 2}^{{9999{n}99}}", f"x^{{9999999{n}}}", f"7^{{7^{{{n + 7}}}}}",
             f"({n + 2}^{{999}})^{{999}}")[n % 6] for n in numbers
        ],
        "factorials": [
            (f"{n}00000!", f"(({n + 9}!)!)!", f"\\frac{{{999 - n}!}}{{{998 - n}!}} + {n}",
             f"\\binom{{{n + 1}0000000}}{{5000000}}", f"{n + 900}!^{{{n + 99}}}",
             f"\\Gamma({n + 1}0000)")[n % 6] for n in numbers
        ],
        "expansions": [
            (f"(a+b+c+d+e+f)^{{{99 - n}}}", f"(x+{n + 2})^{{99}}(x+2)^{{99}}",
             f"(x+y+z)^{{{70 + n}}}(x-y)^{{{60 + n}}}", f"\\frac{{(x+1)^{{98}}}}{{(x+{n + 2})^{{97}}}}",
             f"(1+\\sqrt{{{n + 2}}}+\\sqrt{{3}}+\\sqrt{{5}})^{{{60 + n}}}",
             "*".join(f"(x^{{{k + n}}}+{k}y+1)" for k in range(2, 12)))[n % 6] for n in numbers
        ],
        "long work": [
            (f"\\sum_{{k=1}}^{{99999999{n}}} \\frac{{1}}{{k^k}}", f"\\int_0^{n + 1} \\sin(x^{{x^x}}) dx",
             f"\\lim_{{x \\to {n}}} \\frac{{\\sin(x)^{{99}}}}{{x^{{x}}}}", f"\\gcd(10^{{500}},7^{{9{n}}})",
             f"\\prod_{{k=1}}^{{9{n}99999}} k", f"\\tan(\\tan(\\tan(10^{{9{n}}})))")[n % 6] for n in numbers
        ],
        "depth": [
            ("{" * (20 + 4 * n) + "x" + "}" * (20 + 4 * n), "(" * (20 + 4 * n) + "x" + ")" * (20 + 4 * n),
             "\\frac{" * (n + 9) + "1" + "}{2}" * (n + 9), "\\sqrt{" * (n + 9) + "2" + "}" * (n + 9),
             "[" * (200 + n), "\\left(" * (n + 20))[n % 6] for n in numbers
        ],
        "repeated units": [
            ("5" + "\\text{a}   " * (10 + n) + "x", "5" + "\\text{" * (n + 9), "5 " + "km / " * (n + 9),
             "5" + "\\mathrm{~m}^{2} / " * (n + 5) + "x", "7 " + "abcd " * (n + 30),
             "5 " + "a" * (200 + n) + " 1")[n % 6] for n in numbers
        ],
        "repeated signs": [
            ("$" * (200 + n), "%" * (200 + n), "~" * (250 + n), "1," * (100 + n), "-" * (200 + n),
             "\\left" * (20 + n))[n % 6] for n in numbers
        ],
        "odd characters": [
            (f"\x00{n}", f"{n}\x00{n}", f"\u202e{n + 8}\u202c", "\ud800" * (n + 1), f"１{n}",
             f"{n}\u0300\u20dd")[n % 6] for n in numbers
        ],
        "code": [
            (f"__import__('os').system('touch hacked{n}')", f"exec(open('/etc/passwd').read({n}))",
             f"\\input{{/etc/passwd{n}}}", f"\\def\\x{{\\x\\x}}\\x_{n}", f"eval('9**9**{n}')",
             f"lambda: {n}")[n % 6] for n in numbers
        ],
        "odd values": [
            (f"{n}/0", "\\frac{0}{0}", f"1e99999999{n}", f"\\infty^{{{n}}}", f"\\log(0)^{{{n}}}",
             f"{n}!^{{-\\infty}}")[n % 6] for n in numbers
        ],
    }  # fmt: skip
