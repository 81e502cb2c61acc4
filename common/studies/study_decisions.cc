#include "common/studies/study_decisions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/studies/study_spec.h"

namespace graft {
namespace {

constexpr char kNoStepsLeft[] = "limits.max_steps leaves no steps for it";

// The points of one bracket that come to one rung.
struct Rung {
  std::vector<int> points;  // As they came.
  bool closed = false;      // Nobody else will.
};

class Course {
 public:
  Course(const v1::Study& study, const StudyResults& results)
      : study_(study), results_(results), minimize_(Minimizes(study.objective())) {
    course_.points.resize(results.size());
  }

  StudyCourse Run() {
    const int brackets =
        study_.has_successive_halving() ? study_.successive_halving().brackets() : 1;
    std::vector<Rung> rungs(brackets);
    Begin(rungs);
    // By rungs first: where steps are limited, all that come earlier have theirs.
    bool all_before_are_closed = true;
    for (int rung = 0; rung < study_.rung_steps_size(); ++rung) {
      for (int bracket = 0; bracket < std::min(brackets, rung + 1); ++bracket) {
        if (limited() && !all_before_are_closed) return std::move(course_);
        rungs[bracket] = study_.has_median_stopping() ? Median(rung, rungs[bracket])
                                                      : Halve(bracket, rung, rungs[bracket]);
        all_before_are_closed &= rungs[bracket].closed;
      }
    }
    return std::move(course_);
  }

 private:
  bool limited() const { return study_.limits().max_steps() > 0; }

  // Whether so many steps of each of a point's trials are left; takes them.
  bool Take(int64_t steps) {
    const int64_t all = course_.planned_steps + steps * study_.repeats();
    if (limited() && all > study_.limits().max_steps()) return false;
    course_.planned_steps = all;
    return true;
  }

  void Begin(std::vector<Rung>& rungs) {
    const int brackets = static_cast<int>(rungs.size());
    for (int point = 0; point < static_cast<int>(results_.size()); ++point) {
      const int bracket = point % brackets;
      PointCourse& course = course_.points[point];
      course.rung = bracket;
      course.begins = Take(StepsOfRung(study_, bracket));
      if (course.begins) {
        rungs[bracket].points.push_back(point);
      } else {
        course.stopped = true;
        course.reason = kNoStepsLeft;
      }
    }
    for (Rung& rung : rungs) rung.closed = true;
  }

  const PointResult& ResultOf(int point, int rung) const { return results_[point][rung]; }

  // How many of the rung's points, in order, have results.
  size_t CountThere(const Rung& rung, int index) const {
    const auto missing = std::find_if(rung.points.begin(), rung.points.end(),
                                      [&](int point) { return !ResultOf(point, index).there; });
    return missing - rung.points.begin();
  }

  bool Better(double a, double b) const { return minimize_ ? a < b : a > b; }

  // The first `count` of the rung that have a value, the best first; of equal ones the earlier.
  std::vector<int> Ranked(const Rung& rung, size_t count, int index) const {
    std::vector<int> ranked;
    for (size_t i = 0; i < count; ++i) {
      if (ResultOf(rung.points[i], index).value) ranked.push_back(rung.points[i]);
    }
    std::stable_sort(ranked.begin(), ranked.end(), [&](int a, int b) {
      return Better(*ResultOf(a, index).value, *ResultOf(b, index).value);
    });
    return ranked;
  }

  StudyDecision NewDecision(int bracket, int rung, const Rung& members, size_t looked_at) const {
    StudyDecision decision;
    decision.bracket = bracket;
    decision.rung = rung;
    decision.looked_at.assign(members.points.begin(), members.points.begin() + looked_at);
    return decision;
  }

  // To the rung after this one, if there are steps for it.
  void LetGoOn(int point, int rung, StudyDecision& decision, Rung& next) {
    if (!Take(StepsOfRung(study_, rung + 1) - StepsOfRung(study_, rung))) {
      Stop(point, kNoStepsLeft, decision);
      return;
    }
    course_.points[point].rung = rung + 1;
    decision.promoted.push_back(point);
    next.points.push_back(point);
  }

  void Stop(int point, const std::string& reason, StudyDecision& decision) {
    course_.points[point].stopped = true;
    course_.points[point].reason = reason;
    decision.stopped.push_back(point);
  }

  void Keep(StudyDecision decision, size_t number, std::string reason) {
    if (decision.promoted.empty() && decision.stopped.empty()) return;
    decision.number = static_cast<int>(number);
    decision.reason = std::move(reason);
    course_.decisions.push_back(std::move(decision));
  }

  bool IsDecided(int point, int rung) const {
    return course_.points[point].stopped || course_.points[point].rung > rung;
  }

  // Those of the best `keep` that have not been let go on yet.
  void LetBestGoOn(const std::vector<int>& ranked, size_t keep, int rung, StudyDecision& decision,
                   Rung& next) {
    for (size_t i = 0; i < std::min(keep, ranked.size()); ++i) {
      if (!IsDecided(ranked[i], rung)) LetGoOn(ranked[i], rung, decision, next);
    }
  }

  // Returns those that come to the next rung.
  Rung Halve(int bracket, int rung, const Rung& members) {
    const size_t factor = study_.successive_halving().reduction_factor();
    const size_t there = CountThere(members, rung);
    Rung next;
    for (size_t k = factor; k <= there; ++k) {
      StudyDecision decision = NewDecision(bracket, rung, members, k);
      LetBestGoOn(Ranked(members, k, rung), k / factor, rung, decision, next);
      Keep(std::move(decision), k, absl::StrCat("among the best ", k / factor, " of ", k));
    }
    const size_t all = members.points.size();
    if (!members.closed || there < all) return next;
    next.closed = true;
    const size_t keep = std::max<size_t>(1, all / factor);
    StudyDecision last = NewDecision(bracket, rung, members, all);
    LetBestGoOn(Ranked(members, all, rung), keep, rung, last, next);
    for (const int point : members.points) {
      if (!IsDecided(point, rung)) {
        Stop(point, absl::StrCat("not among the best ", keep, " of ", all), last);
      }
    }
    Keep(std::move(last), all + 1, absl::StrCat("the best ", keep, " of ", all, " go on"));
    return next;
  }

  // Of the values of the first `count`; nothing: there is none.
  std::optional<double> MedianOf(const Rung& members, size_t count, int rung) const {
    const std::vector<int> ranked = Ranked(members, count, rung);
    if (ranked.empty()) return std::nullopt;
    const auto value = [&](size_t i) { return *ResultOf(ranked[i], rung).value; };
    const size_t half = ranked.size() / 2;
    return ranked.size() % 2 == 1 ? value(half) : (value(half - 1) + value(half)) / 2;
  }

  Rung Median(int rung, const Rung& members) {
    const size_t there = CountThere(members, rung);
    Rung next;
    for (size_t k = 1; k <= there; ++k) {
      const int point = members.points[k - 1];
      const std::optional<double> value = ResultOf(point, rung).value;
      const auto median = MedianOf(members, k - 1, rung);
      const bool judged = k > static_cast<size_t>(study_.median_stopping().min_points());
      StudyDecision decision = NewDecision(/*bracket=*/0, rung, members, k);
      std::string reason = "no worse than the median of those before it";
      if (!value) {
        reason = "it has no value";
        Stop(point, reason, decision);
      } else if (judged && median && Better(*median, *value)) {
        reason = absl::StrCat(*value, " is worse than the median of those before it, ", *median);
        Stop(point, reason, decision);
      } else {
        LetGoOn(point, rung, decision, next);
      }
      Keep(std::move(decision), k, std::move(reason));
    }
    next.closed = members.closed && there == members.points.size();
    return next;
  }

  const v1::Study& study_;
  const StudyResults& results_;
  const bool minimize_;
  StudyCourse course_;
};

}  // namespace

int64_t StepsOfRung(const v1::Study& study, int rung) {
  return rung < study.rung_steps_size() ? study.rung_steps(rung) : TotalStepsOf(study);
}

StudyCourse Decide(const v1::Study& study, const StudyResults& results) {
  return Course(study, results).Run();
}

}  // namespace graft
